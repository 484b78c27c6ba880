//go:build lab

package failover

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/portbind/portbind/test/lab/labenv"
)

const namespace = "lab"

// kube plays Kubernetes for a node plugin: it has any claim that it is asked for, bound to the volume of the same name, and takes
// Events.
type kube struct {
	mu     sync.Mutex
	events []corev1.Event
}

// startKube starts it. What is started from then on runs in a pod.
func startKube(t *testing.T) *kube {
	t.Helper()
	k := &kube{}
	labenv.InPod(t, k)
	return k
}

// claimed are parameters of a volume for the claim of that name, as the provisioner passes them on.
func claimed(name string) map[string]string {
	const prefix = "csi.storage.k8s.io/"
	return map[string]string{prefix + "pvc/namespace": namespace, prefix + "pvc/name": name, prefix + "pv/name": name}
}

func (k *kube) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	claim, one := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/"+namespace+"/persistentvolumeclaims/")
	switch {
	case r.Method == http.MethodGet && one:
		_ = json.NewEncoder(w).Encode(corev1.PersistentVolumeClaim{
			TypeMeta:   metav1.TypeMeta{Kind: "PersistentVolumeClaim", APIVersion: "v1"},
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: claim, UID: types.UID(claim)},
			Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: claim},
		})
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/events"):
		var e corev1.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		k.mu.Lock()
		k.events = append(k.events, e)
		k.mu.Unlock()
		_ = json.NewEncoder(w).Encode(e)
	default:
		http.NotFound(w, r)
	}
}

// told are the Events on a claim so far, each as its type, reason and message.
func (k *kube) told(claim string) (all []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.events {
		if e.InvolvedObject.Kind == "PersistentVolumeClaim" && e.InvolvedObject.Name == claim {
			all = append(all, strings.Join([]string{e.Type, e.Reason, e.Message}, " "))
		}
	}
	return all
}

// want waits for an Event on a claim and gives how long that took.
func (k *kube) want(s *labenv.Stack, claim, event string) time.Duration {
	s.T.Helper()
	defer func() { s.T.Logf("claim %s was told: %q", claim, k.told(claim)) }()
	return s.Eventually(time.Minute, event, func() bool { return slices.Contains(k.told(claim), event) })
}
