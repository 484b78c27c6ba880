//go:build cluster

package smoke

import (
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// lostPortal is the target host's at its NIC san1, patience the longest that a write may take, in seconds: a busy node of the lab is
// slow.
const (
	lostPortal = "10.99.0.11:3260"
	patience   = 10
)

// A portal of the target host is gone, with the plug of its NIC, while a pod writes. The pod writes on; an Event on the claim and metrics
// name what is lost. A pod starts on the other node meanwhile. When the portal is back, so are all paths, and that is told.
func TestPortalGone(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), clusterenv.Claim{Name: "late"}.Manifest(),
		clusterenv.Pod{Name: "writer", Node: "node1", Claim: "data", Script: clusterenv.Beats}.Manifest())
	e.Ready("writer")
	first, second := e.Node("node1"), e.Node("node2")
	wantPaths(t, first, 4)
	e.Eventually(clusterenv.Limit, "the pod writes", func() bool { return len(e.Beats("writer")) > 10 })

	e.Target.LinkDown("san1")
	e.Told("persistentvolumeclaim/data", "RedundancyLost", "2 of 4 paths are left on node node1",
		"san-a (san0): session down to "+lostPortal, "san-b (san1): session down to "+lostPortal)
	wantMetric(e, "portbind_volume_paths_expected", "4")
	wantMetric(e, "portbind_volume_paths_working", "2")
	before := len(e.Beats("writer"))
	e.Eventually(clusterenv.Limit, "the pod writes on", func() bool { return len(e.Beats("writer")) > before+10 })
	e.Apply(clusterenv.Pod{Name: "late", Node: "node2", Claim: "late"}.Manifest())
	t.Logf("without the portal, until a pod ran on the other node: %.1f s", e.Ready("late").Seconds())
	e.Told("persistentvolumeclaim/late", "RedundancyLost", "2 of 4 paths are left on node node2", lostPortal)

	e.Target.LinkUp("san1")
	t.Logf("portal back, until all paths were back: %.1f s; on the other node: %.1f s",
		wantPaths(t, first, 4).Seconds(), wantPaths(t, second, 4).Seconds())
	e.Told("persistentvolumeclaim/data", "RedundancyRestored", "All 4 paths work again on node node1")
	e.Told("persistentvolumeclaim/late", "RedundancyRestored", "All 4 paths work again on node node2")
	wantMetric(e, "portbind_volume_paths_working", "4")
	stall := longest(e.Beats("writer"))
	t.Logf("longest stall of the pod: %.1f s", stall)
	if stall > patience {
		t.Errorf("more than %d s", patience)
	}
	e.Delete("pod/writer", "pod/late")
	e.Delete("persistentvolumeclaim/data", "persistentvolumeclaim/late")
}
