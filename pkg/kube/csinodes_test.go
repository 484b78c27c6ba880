package kube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

// csiNodesJSON is what `kubectl get --raw /apis/storage.k8s.io/v1/csinodes` gave, shortened.
const csiNodesJSON = `{"kind":"CSINodeList","apiVersion":"storage.k8s.io/v1","metadata":{"resourceVersion":"1045"},"items":[
{"metadata":{"name":"node1","ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"node1"}]},"spec":{"drivers":[
	{"name":"other.example.com","nodeID":"iqn.x","topologyKeys":null},
	{"name":"iscsi.portbind.io","nodeID":"iqn.a","topologyKeys":["topology.iscsi.portbind.io/san-a"],"allocatable":{"count":255}}]}},
{"metadata":{"name":"node2"},"spec":{"drivers":[{"name":"iscsi.portbind.io","nodeID":"iqn.a","topologyKeys":null}]}},
{"metadata":{"name":"node3"},"spec":{"drivers":[{"name":"iscsi.portbind.io","nodeID":"iqn.b","topologyKeys":null}]}},
{"metadata":{"name":"node4"},"spec":{"drivers":null}}]}`

func newCSINodes(t *testing.T) *Client {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case csiNodesPath:
			if r.URL.Query().Get("resourceVersion") != "0" {
				t.Error(r.URL)
			}
			fmt.Fprint(w, csiNodesJSON)
		case "/api/v1/nodes/node1":
			fmt.Fprint(w, `{"kind":"Node","apiVersion":"v1","metadata":{"name":"node1"}}`)
		case "/api/v1/nodes/secret":
			fail(w, http.StatusForbidden)
		default:
			fail(w, http.StatusNotFound)
		}
	}))
	t.Cleanup(web.Close)
	client, err := newClient(&rest.Config{Host: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAnnouncers(t *testing.T) {
	client := newCSINodes(t)
	for id, want := range map[string][]string{"iqn.a": {"node1", "node2"}, "iqn.b": {"node3"}, "iqn.x": nil, "": nil} {
		got, err := client.Announcers(t.Context(), "iscsi.portbind.io", id)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
}

func TestExists(t *testing.T) {
	client := newCSINodes(t)
	for node, want := range map[string]bool{"node1": true, "gone": false} {
		if got, err := client.Exists(t.Context(), node); err != nil || got != want {
			t.Errorf("%s: %v, %v", node, got, err)
		}
	}
	if _, err := client.Exists(t.Context(), "secret"); !Barred(err) {
		t.Error(err)
	}
}
