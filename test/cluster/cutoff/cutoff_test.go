//go:build cluster

package cutoff

import (
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

const outOfService = "node.kubernetes.io/out-of-service"

// A node that is cut off under a writing pod gives its volume up once it is declared out of service, and cannot write when it is
// back.
func TestCutOff(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(),
		clusterenv.Pod{Name: "writer", Node: "node1", Claim: "data", Script: clusterenv.Beats}.Manifest())
	e.Ready("writer")
	e.Eventually(clusterenv.Limit, "the pod writes", func() bool { return len(e.Beats("writer")) > 10 })
	node := e.Node("node1")
	for _, nic := range []string{"mgmt", "san0", "san1"} {
		node.LinkDown(nic)
	}
	e.Kubectl("taint", "node", "node1", outOfService+"=nodeshutdown:NoExecute")
	t.Cleanup(func() { _, _ = e.Try("taint", "node", "node1", outOfService+"-") }) // gone already when all went well
	took := e.Eventually(2*clusterenv.Limit, "the pod is gone", func() bool {
		_, err := e.Try("get", "pod", "writer")
		return err != nil && strings.Contains(err.Error(), "NotFound")
	})
	t.Logf("cut off, until the pod was gone: %.1f s", took.Seconds())
	e.Apply(clusterenv.Pod{Name: "second", Node: "node2", Claim: "data"}.Manifest())
	t.Logf("the pod on the other node: %.1f s", e.Ready("second").Seconds())
	const lines = "sync; wc -l < /data/beats"
	before := e.Sh("second", lines)

	for _, nic := range []string{"mgmt", "san0", "san1"} {
		node.LinkUp(nic)
	}
	e.Kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout="+clusterenv.Limit.String())
	e.Kubectl("taint", "node", "node1", outOfService+"-")
	took = e.Eventually(clusterenv.Limit, "nothing of the volume on the node that is back", func() bool {
		active, failed := node.Paths()
		return active+failed == 0
	})
	t.Logf("the node is back, until it had let go of the volume: %.1f s", took.Seconds())
	if after := e.Sh("second", lines); after != before {
		t.Errorf("%s lines before the node was back, %s after", before, after)
	}
	e.Delete("pod/second")
	e.Delete("persistentvolumeclaim/data")
}
