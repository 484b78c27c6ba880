//go:build lab

package interfaces

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portbind/portbind/pkg/selection"
	"github.com/portbind/portbind/test/lab/labenv"
)

// api plays Kubernetes for a plugin in a pod: it has one node, and takes Events.
type api struct {
	// away ends the server.
	away func()

	mu      sync.Mutex
	node    corev1.Node
	changed chan struct{} // closed when the node changes
	events  []corev1.Event
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{changed: make(chan struct{}), node: corev1.Node{
		TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: "n1"},
	}}
	a.away = labenv.InPod(t, a)
	return a
}

// describe sets the node's labels and annotations.
func (a *api) describe(labels, annotations map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node.Labels, a.node.Annotations = labels, annotations
	close(a.changed)
	a.changed = make(chan struct{})
}

// watch tells of the node, as it is and when it changes.
func (a *api) watch(w http.ResponseWriter, r *http.Request) {
	for kind := "ADDED"; ; kind = "MODIFIED" {
		a.mu.Lock()
		_ = json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": a.node})
		changed := a.changed
		a.mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/api/v1/nodes" && r.URL.Query().Get("watch") == "true" {
		a.watch(w, r)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/nodes/n1":
		_ = json.NewEncoder(w).Encode(a.node)
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/events"):
		var e corev1.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.events = append(a.events, e)
		_ = json.NewEncoder(w).Encode(e)
	default:
		http.NotFound(w, r)
	}
}

// told says that there is an Event on the node with these words.
func (a *api) told(reason string, words ...string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.events, func(e corev1.Event) bool {
		return e.Reason == reason && e.InvolvedObject.Kind == "Node" && e.InvolvedObject.Name == "n1" &&
			!slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.Message, word) })
	})
}

func (a *api) log(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.events {
		t.Logf("%s %s %s", e.Type, e.Reason, e.Message)
	}
}

// TestNodeSelection has interfaces that depend on the node's label and annotation, follow them, and stay while the API server is away;
// and Events of what is wrong with them.
func TestNodeSelection(t *testing.T) {
	s := newScene(t)
	s.unknown()
	a := newAPI(t)
	a.describe(map[string]string{"rack": "r1"}, nil)
	selected := iface("san-a", "netdev", "san0")
	selected["nodeSelector"] = map[string]string{"rack": "r1"}
	elsewhere := iface("san-c", "netdev", "san0")
	elsewhere["nodeSelector"] = map[string]string{"rack": "r2"}
	s.start([]map[string]any{selected, iface("san-a", "netdev", "san1"), elsewhere}, map[string]any{"nodeAnnotation": true})
	s.want("san-a Compliant")
	s.wantTopology(map[string]string{"san-a": "true", "san-c": ""})
	s.wantNIC("san-a", "san0")

	a.describe(map[string]string{"rack": "r2"}, map[string]string{selection.Annotation: `[{"name": "san-b", "netdev": "san1"}]`})
	s.want("san-a DuplicateNIC", "san-b Compliant", "san-c Compliant")
	s.wantNIC("san-c", "san0")
	s.wantTopology(map[string]string{"san-a": "", "san-b": "true", "san-c": "true"})
	s.Eventually(10*time.Second, "an Event", func() bool {
		return a.told("StorageInterfaceMisconfigured", "san-a: DuplicateNIC", `NIC san1`, "Give each interface a NIC of its own")
	})

	s.Run("ip", "link", "set", "san1", "mtu", "1400")
	s.want("san-b MTUMismatch")
	s.Run("ip", "link", "set", "san1", "mtu", "1500")
	s.want("san-b Compliant")
	s.Eventually(10*time.Second, "Events", func() bool {
		return a.told("StorageInterfaceMisconfigured", "san-b (san1): MTUMismatch: san1 has MTU 1400, san0 (san-c) has 1500") &&
			a.told("StorageInterfaceCompliant", "san-b (san1) is compliant")
	})
	a.log(t)
	a.away()
	s.node.Restart()
	s.want("san-a DuplicateNIC", "san-b Compliant", "san-c Compliant")
}

// unknown does not start a plugin whose interfaces depend on a node that nobody knows.
func (s *scene) unknown() {
	s.T.Helper()
	config := filepath.Join(s.T.TempDir(), "node.yaml")
	text := "interfaces: [{name: san-a, netdev: san0, nodeSelector: {rack: r1}}]\nstateDir: " + s.T.TempDir() + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		s.T.Fatal(err)
	}
	out, err := s.Try(s.Binary("portbind-csi"), "node", "--config", config, "--node-name", "n1", "--endpoint", "unix:///dev/shm/n1.sock")
	if err == nil || !strings.Contains(err.Error(), "nodeSelector") {
		s.T.Errorf("got %v\n%s", err, out)
	}
}

// wantNIC holds the NIC of an interface, as the plugin has logged it last, against what it should be.
func (s *scene) wantNIC(name, nic string) {
	s.T.Helper()
	log := s.log()
	at := strings.LastIndex(log, `interface="`+name+`"`)
	if at < 0 || !strings.HasPrefix(log[at:], `interface="`+name+`" nic="`+nic+`"`) {
		s.T.Errorf("%s is not %s:\n%s", name, nic, s.node.Tail(20))
	}
}
