//go:build lab

package policy

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/portbind/portbind/test/lab/labenv"
)

// apiServer is as much of Kubernetes as a node plugin asks for a volume's class: a watch of each PersistentVolume, and the classes.
type apiServer struct {
	t       *testing.T
	mu      sync.Mutex
	volumes map[string]map[string]any    // spec by name of the PersistentVolume
	classes map[string]map[string]string // parameters by name
	changed chan struct{}                // closed when a volume changes
}

// startAPI starts one, and makes this process look as if it ran in a pod: so do the programs that it starts.
func startAPI(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{t: t, volumes: map[string]map[string]any{}, classes: map[string]map[string]string{}, changed: make(chan struct{})}
	labenv.InPod(t, s)
	return s
}

// claimed are parameters as the provisioner passes them on: the PersistentVolume is named as the volume.
func claimed(name string, params map[string]string) map[string]string {
	all := map[string]string{
		"csi.storage.k8s.io/pvc/namespace": "lab", "csi.storage.k8s.io/pvc/name": name, "csi.storage.k8s.io/pv/name": name,
	}
	maps.Copy(all, params)
	return all
}

// give gives a PersistentVolume a class, as the resizer does once the volume was modified.
func (s *apiServer) give(name string, v *labenv.Volume, class string, params map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.classes[class] = params
	s.volumes[name] = map[string]any{
		"csi": map[string]string{"driver": "iscsi.portbind.io", "volumeHandle": v.VolumeId}, "volumeAttributesClassName": class,
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	class, ok := strings.CutPrefix(r.URL.Path, "/apis/storage.k8s.io/v1/volumeattributesclasses/")
	pv, watched := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	switch {
	case r.Header.Get("Authorization") != "Bearer lab":
		s.t.Errorf("%s %s without the token", r.Method, r.URL)
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodGet && ok:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.write(w, map[string]any{"driverName": "iscsi.portbind.io", "parameters": s.classes[class]})
	case r.Method == http.MethodGet && watched && r.URL.Path == "/api/v1/persistentvolumes" && r.URL.Query().Get("watch") == "true":
		s.watch(w, r, pv)
	default: // for what else it asks it has no rights here
		w.WriteHeader(http.StatusForbidden)
		s.write(w, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": http.StatusForbidden})
	}
}

func (s *apiServer) watch(w http.ResponseWriter, r *http.Request, pv string) {
	told := ""
	for event := "ADDED"; ; {
		s.mu.Lock()
		spec, changed := s.volumes[pv], s.changed
		class, _ := spec["volumeAttributesClassName"].(string)
		s.mu.Unlock()
		if spec != nil && (event == "ADDED" || class != told) {
			s.write(w, map[string]any{"type": event, "object": map[string]any{
				"kind": "PersistentVolume", "apiVersion": "v1", "metadata": map[string]string{"name": pv}, "spec": spec,
			}})
			event, told = "MODIFIED", class
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (s *apiServer) write(w http.ResponseWriter, object any) {
	if err := json.NewEncoder(w).Encode(object); err != nil {
		s.t.Logf("API server: %v", err) // the client is gone
	}
}
