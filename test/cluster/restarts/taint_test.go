//go:build cluster

package restarts

import (
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

const startupTaint = "iscsi.portbind.io/agent-not-ready"

// A node comes with the start-up taint while one of its interfaces has no NIC: pods with volumes wait. When the NIC is there, the
// node plugin takes the taint away, and they start.
func TestStartupTaint(t *testing.T) {
	e := clusterenv.New(t)
	e.Release().Install("node.startupTaint.remove=true")
	node := e.Node("node1")
	rename := func(from, to string) {
		node.Run("sh", "-c", "ip link set "+from+" down && ip link set "+from+" name "+to+" && ip link set "+to+" up")
	}
	rename("san0", "gone0")
	t.Cleanup(func() {
		_, _ = node.Try("sh", "-c", "ip link set gone0 down && ip link set gone0 name san0 && ip link set san0 up") // if it is still so
		_, _ = e.Try("taint", "node", node.Name, startupTaint+"-")
	})
	e.Kubectl("taint", "node", node.Name, startupTaint+":NoExecute")
	plugin := e.NodePlugin(node.Name)
	e.Driver("delete", plugin) // as if the node had just joined
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), clusterenv.Pod{Name: "first", Node: node.Name, Claim: "data"}.Manifest())
	e.Eventually(clusterenv.Limit, "the plugin says why the taint stays", func() bool {
		log, err := e.Try("--namespace", "portbind", "logs", e.NodePlugin(node.Name), "--container", "portbind-csi")
		return err == nil && strings.Contains(log, "The start-up taint stays") && strings.Contains(log, "san-a")
	})
	if got := condition(e, "first"); got != "False Unschedulable" {
		t.Errorf("on a node with the taint the pod is scheduled: %s", got)
	}

	rename("gone0", "san0")
	took := e.Eventually(clusterenv.Limit, "the taint is removed", func() bool {
		return !strings.Contains(e.Kubectl("get", "node", node.Name, "--output", "jsonpath={.spec.taints[*].key}"), startupTaint)
	})
	t.Logf("from the interface being there until the taint was removed: %.1f s; until the pod ran: %.1f s more",
		took.Seconds(), e.Ready("first").Seconds())
	node.Eventually(clusterenv.Limit, "four paths", func() bool {
		active, failed := node.Paths()
		return active == 4 && failed == 0
	})
	e.Delete("pod/first")
	e.Delete("persistentvolumeclaim/data")
}

func condition(e *clusterenv.Env, pod string) string {
	const scheduled = `{.status.conditions[?(@.type=="PodScheduled")]`
	return e.Kubectl("get", "pod", pod, "--output", "jsonpath="+scheduled+".status} "+scheduled+".reason}")
}
