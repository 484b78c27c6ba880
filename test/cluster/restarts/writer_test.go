//go:build cluster

package restarts

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// patience is the longest that a write may take, in seconds, or three times the longest of the pod beside it, if that is more: the
// machine may be busy with other things.
const patience = 10

// control is a pod on the same node that writes in the same way, to the node's own disk.
const control = "control"

// writer is a pod that writes all the time.
type writer struct {
	*clusterenv.Env
	pod  string
	node *clusterenv.Machine
	has  []string // what the node has of its volume
}

// write starts a pod that writes to a new volume, and waits until it has done so for a while.
func write(e *clusterenv.Env, node string) *writer {
	e.T.Helper()
	w := &writer{Env: e, pod: "writer", node: e.Node(node)}
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(),
		clusterenv.Pod{Name: w.pod, Node: node, Claim: "data", Script: clusterenv.Beats}.Manifest(),
		clusterenv.Pod{Name: control, Node: node, Source: "emptyDir: {}", Script: clusterenv.Beats}.Manifest())
	e.Ready(w.pod, control)
	w.fourPaths()
	w.more(50)
	w.has = w.node.Volumes()
	return w
}

func (w *writer) fourPaths() {
	w.T.Helper()
	w.node.Eventually(clusterenv.Limit, "four paths", func() bool {
		active, failed := w.node.Paths()
		return active == 4 && failed == 0
	})
}

// more waits until the pod has written so many more times.
func (w *writer) more(n int) {
	w.T.Helper()
	want := len(w.Beats(w.pod)) + n
	w.Eventually(clusterenv.Limit, "the pod writes", func() bool { return len(w.Beats(w.pod)) >= want })
}

// undisturbed says that the pod has written all the time, and that nothing of its volume has been touched on the node.
func (w *writer) undisturbed() {
	w.T.Helper()
	w.more(20)
	beats := w.Beats(w.pod)
	stall, beside := clusterenv.LongestStall(beats), clusterenv.LongestStall(w.Beats(control))
	w.T.Logf("%d writes, the longest took %.2f s; to the node's own disk meanwhile, %.2f s", len(beats), stall, beside)
	if most := max(patience, 3*beside); stall > most || !slices.IsSorted(beats) {
		w.T.Errorf("the longest write took %.2f s, more than %.2f s", stall, most)
	}
	if got := restarts(w.Env, w.pod); got != "0" {
		w.T.Errorf("the pod's container was started %s more times", got)
	}
	if diff := cmp.Diff(w.has, w.node.Volumes()); diff != "" {
		w.T.Errorf("the node has other things of the volume than before (-before +after):\n%s", diff)
	}
	if n := w.node.PathFailures(); n != 0 {
		w.T.Errorf("paths failed %d times", n)
	}
}

// remove removes the pod, and expects the node to forget the volume, which is then deleted.
func (w *writer) remove() {
	w.T.Helper()
	w.Delete("pod/"+w.pod, "pod/"+control)
	w.nothingLeft()
	w.Delete("persistentvolumeclaim/data")
}

func (w *writer) nothingLeft() {
	w.T.Helper()
	w.node.Eventually(clusterenv.Limit, "nothing of the volume", func() bool { return len(w.node.Volumes()) == 0 })
}

func restarts(e *clusterenv.Env, pod string) string {
	return e.Kubectl("get", "pod", pod, "--output", "jsonpath={.status.containerStatuses[0].restartCount}")
}

func without(t *testing.T, old, now []string) {
	t.Helper()
	for _, pod := range old {
		if slices.Contains(now, pod) {
			t.Errorf("%s was not replaced", pod)
		}
	}
}
