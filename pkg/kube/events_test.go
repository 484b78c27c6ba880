package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/volume"
)

var (
	claimed = volume.Claim{Namespace: "shop", Name: "data", Volume: "pvc-1"}
	lost    = pathwatch.Event{
		Volume: "t/p/v", Claim: claimed, Warning: true, Reason: pathwatch.RedundancyLost, Message: "2 of 4 paths are left",
	}
	restored = pathwatch.Event{Volume: "t/p/v", Claim: claimed, Reason: pathwatch.RedundancyRestored, Message: "All 4 paths work again"}
	linkDown = pathwatch.Event{Warning: true, Reason: pathwatch.InterfaceDown, Message: "Storage interface san-b (eth3) has no link"}
)

// run posts until the test ends.
func run(t *testing.T, client *Client, node string) *Events {
	t.Helper()
	e := NewEvents(client, "iscsi.portbind.io", node)
	e.pause = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return e
}

// await waits for that many requests that wrote events.
func (s *server) await(writes int) []*corev1.Event {
	s.t.Helper()
	for range writes {
		select {
		case <-s.changed:
		case <-time.After(20 * time.Second):
			s.t.Fatal("no event")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

func line(e *corev1.Event) string {
	return fmt.Sprintf("%s %s/%s uid=%s %s %s: %s x%d", e.InvolvedObject.Kind, e.Namespace, e.InvolvedObject.Name, e.InvolvedObject.UID,
		e.Type, e.Reason, e.Message, e.Count)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	const onNode = "Node default/n1 uid=n1 Warning RedundancyLost: Volume t/p/v: 2 of 4 paths are left x1"
	unknown := lost
	unknown.Claim = volume.Claim{}
	for name, test := range map[string]struct {
		pv, node string
		refuse   []int
		event    pathwatch.Event
		want     string
	}{
		"on the claim":                {"pvc-1", "n1", nil, lost, "PersistentVolumeClaim shop/data uid=u1 Warning RedundancyLost: 2 of 4 paths are left x1"},
		"for the better":              {"pvc-1", "n1", nil, restored, "PersistentVolumeClaim shop/data uid=u1 Normal RedundancyRestored: All 4 paths work again x1"},
		"without a node's name":       {"pvc-1", "", nil, restored, "PersistentVolumeClaim shop/data uid=u1 Normal RedundancyRestored: All 4 paths work again x1"},
		"of the node":                 {"pvc-1", "n1", nil, linkDown, "Node default/n1 uid=n1 Warning StorageInterfaceDown: Storage interface san-b (eth3) has no link x1"},
		"of nobody's volume":          {"pvc-1", "n1", nil, unknown, onNode},
		"claim of another volume now": {"pvc-2", "n1", nil, lost, onNode},
		"claim not to be read":        {"pvc-1", "n1", []int{403}, lost, onNode},
		"claim gone":                  {"pvc-1", "n1", []int{404}, lost, onNode},
		"API server away for a while": {
			"pvc-1", "n1", []int{500, 502, 500}, lost, "PersistentVolumeClaim shop/data uid=u1 Warning RedundancyLost: 2 of 4 paths are left x1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, client := newServer(t)
			s.addClaim("shop", "data", "u1", test.pv)
			s.refuse["GET persistentvolumeclaims"] = test.refuse
			run(t, client, test.node).Post(test.event)
			got := s.await(1)
			if diff := cmp.Diff(test.want, line(got[0])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got[0].Source != (corev1.EventSource{Component: "iscsi.portbind.io", Host: test.node}) {
				t.Errorf("source %+v", got[0].Source)
			}
		})
	}
}

// TestFlap has a path lost and back more often than client-go's budget for an object allows: the last word is said all the
// same, and there are two events with a count.
func TestFlap(t *testing.T) {
	t.Parallel()
	s, client := newServer(t)
	s.addClaim("shop", "data", "u1", "pvc-1")
	e := run(t, client, "n1")
	const flaps = 20
	for range flaps {
		e.Post(lost)
		e.Post(restored)
	}
	got := s.await(2 * flaps)
	if len(got) != 2 || got[0].Count != flaps || got[1].Count != flaps {
		t.Errorf("%d events: %s, %s", len(got), line(got[0]), line(got[1]))
	}
}

// TestRefused goes on after an event that the API server does not take.
func TestRefused(t *testing.T) {
	t.Parallel()
	s, client := newServer(t)
	s.addClaim("shop", "data", "u1", "pvc-1")
	s.refuse["POST events"] = []int{http.StatusForbidden}
	e := run(t, client, "n1")
	e.Post(lost)
	e.Post(restored)
	if got := s.await(1); len(got) != 1 || got[0].Reason != pathwatch.RedundancyRestored {
		t.Errorf("%v", got)
	}
}

// TestBusy has the API server answer that it cannot now.
func TestBusy(t *testing.T) {
	t.Parallel()
	s, client := newServer(t)
	s.addClaim("shop", "data", "u1", "pvc-1")
	s.refuse["POST events"] = []int{500, 500}
	run(t, client, "n1").Post(lost)
	if got := s.await(1); got[0].Reason != pathwatch.RedundancyLost {
		t.Errorf("%v", got)
	}
}

// TestPostNeverWaits posts more than fits, to nobody.
func TestPostNeverWaits(t *testing.T) {
	t.Parallel()
	_, client := newServer(t)
	e := NewEvents(client, "iscsi.portbind.io", "n1")
	for range 2 * queueLength {
		e.Post(lost)
	}
}

// TestAgedOut drops an event whose time is over without asking for ever.
func TestAgedOut(t *testing.T) {
	t.Parallel()
	s, client := newServer(t)
	s.refuse["GET persistentvolumeclaims"] = slices.Repeat([]int{500}, 100)
	s.addClaim("shop", "data", "u1", "pvc-1")
	e := run(t, client, "n1")
	e.queue <- entry{lost, time.Now().Add(-maxAge)}
	e.Post(linkDown)
	if got := s.await(1); got[0].Reason != pathwatch.InterfaceDown {
		t.Errorf("%v", got)
	}
}

func TestInCluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := InCluster(); err != ErrNotInCluster { //nolint:errorlint // the very one
		t.Errorf("outside: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	if _, err := InCluster(); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("without a token: %v", err)
	}
}

func TestNodes(t *testing.T) {
	t.Parallel()
	s, client := newServer(t)
	s.node = &corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	got, err := client.Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil || got.Name != "n1" {
		t.Fatalf("%+v, %v", got, err)
	}
	got, err = client.Nodes().Patch(t.Context(), "n1", types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	if err != nil || !got.Spec.Unschedulable {
		t.Errorf("%+v, %v", got, err)
	}
}
