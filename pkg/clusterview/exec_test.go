package clusterview

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// A proxy that does not let websockets through is no reason to give up.
func TestRemoteFallsBack(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.URL.Path+" "+strings.ToLower(r.Header.Get("Upgrade")))
		http.Error(w, "not through here", http.StatusBadRequest)
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(config)
	check(t, err)
	err = Remote{config, client}.Exec(t.Context(), pod("p", ofNodes, "node1"), []string{Program, "version"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "not through here") {
		t.Errorf("got %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	path := "/api/v1/namespaces/portbind/pods/p/exec"
	if diff := cmp.Diff([]string{"GET " + path + " websocket", "POST " + path + " spdy/3.1"}, asked); diff != "" {
		t.Error(diff)
	}
}
