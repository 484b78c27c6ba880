//go:build cluster

// Package selection gives a node other NICs for its interfaces, by its label and by its annotation, while a pod writes over them.
package selection

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

const (
	// patience is the longest that a write may take, in seconds: a busy node of the lab is slow.
	patience = 10
	// noticed is when the plugin must know of a change at the latest, less than the minute between two looks of one that may not watch.
	noticed = 30 * time.Second
)

// Where the label is, the interfaces have each other's NIC. The annotation of a node counts more.
const (
	label      = "lab.portbind.io/nics"
	annotation = "iscsi.portbind.io/interfaces"
	asBefore   = `[{name: san-a, netdev: san0}, {name: san-b, netdev: san1}]`
)

// sessions writes a line for each bound session, with its interface and its NIC.
const sessions = `
for s in /sys/class/iscsi_session/session*; do
  echo "$(cat $s/ifacename) $(cat $(readlink -f $s/device)/../iscsi_host/host*/netdev) $(cat $s/state)"
done | sort`

// TestExchanged labels a node, and its two interfaces exchange their NICs; then an annotation says that they are as they were. A pod
// writes all the while, and its volume has all paths each time, on the right NICs. The plugin is not started anew for that.
func TestExchanged(t *testing.T) {
	e := clusterenv.New(t)
	const key = `nodeSelector.lab\.portbind\.io/nics=exchanged`
	e.Release().Install("nodeAnnotation=true",
		"interfaces[0].name=san-a", "interfaces[0].netdev=san1", "interfaces[0]."+key,
		"interfaces[1].name=san-b", "interfaces[1].netdev=san0", "interfaces[1]."+key,
		"interfaces[2].name=san-a", "interfaces[2].netdev=san0", "interfaces[3].name=san-b", "interfaces[3].netdev=san1")
	t.Cleanup(func() {
		_, _ = e.Try("label", "node", "node1", label+"-")
		_, _ = e.Try("annotate", "node", "node1", annotation+"-")
	})
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(),
		clusterenv.Pod{Name: "writer", Node: "node1", Claim: "data", Script: clusterenv.Beats}.Manifest())
	e.Ready("writer")
	node, plugin := e.Node("node1"), e.NodePlugin("node1")
	over(t, node, "san0", "san1")

	change(e, "label", "node", "node1", label+"=exchanged")
	over(t, node, "san1", "san0")
	change(e, "annotate", "node", "node1", annotation+"="+asBefore)
	over(t, node, "san0", "san1")

	stall := clusterenv.LongestStall(e.Beats("writer"))
	t.Logf("longest stall of the pod: %.1f s", stall)
	if stall > patience {
		t.Errorf("more than %d s", patience)
	}
	if now := e.NodePlugin("node1"); now != plugin {
		t.Errorf("the plugin %s is now %s", plugin, now)
	}
	e.Delete("pod/writer")
	e.Delete("persistentvolumeclaim/data")
}

// change changes node1, and waits until its plugin says what its interfaces are now.
func change(e *clusterenv.Env, args ...string) {
	e.T.Helper()
	plugin := e.NodePlugin("node1")
	said := func() int {
		return strings.Count(e.Driver("logs", plugin, "--container", "portbind-csi"), "The interfaces of this node")
	}
	before := said()
	e.Kubectl(args...)
	took := e.Eventually(noticed, "the plugin to see the change", func() bool { return said() > before })
	e.T.Logf("seen %.1f s after %s", took.Seconds(), args[0])
}

// over waits until the interfaces' sessions are on these NICs, two each, and all paths work.
func over(t *testing.T, node *clusterenv.Machine, a, b string) {
	t.Helper()
	want := []string{"pb-san-a " + a, "pb-san-a " + a, "pb-san-b " + b, "pb-san-b " + b}
	for i := range want {
		want[i] += " LOGGED_IN"
	}
	took := node.Eventually(clusterenv.Limit, "sessions of san-a over "+a+", of san-b over "+b, func() bool {
		lines := strings.Split(strings.TrimSpace(node.Run("sh", "-c", sessions)), "\n")
		active, failed := node.Paths()
		return slices.Equal(lines, want) && active == 4 && failed == 0
	})
	t.Logf("san-a over %s, san-b over %s after %.1f s", a, b, took.Seconds())
}
