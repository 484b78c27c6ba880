//go:build cluster

// Package policy changes how I/O uses a volume's paths, with VolumeAttributesClasses.
package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// patience is the longest that a write may take, in seconds.
const patience = 10

// TestAttributesClass: a claim is made with one class and given another while a pod writes to it: the map in use is changed. A pod
// that comes to another node has the volume by the second class too. A third, wrong one is refused in words, and the second
// stays.
func TestAttributesClass(t *testing.T) {
	e := clusterenv.New(t)
	first := attributes(e, "first", "pathSelector: round-robin")
	second := attributes(e, "second", "pathSelector: queue-length, preferredInterface: san-b")
	wrong := attributes(e, "wrong", "pathSelector: fastest")
	e.Apply(clusterenv.Claim{Name: "data", Attributes: first}.Manifest(), clusterenv.Pod{Name: "one", Node: "node1", Claim: "data", Script: clusterenv.Beats}.Manifest())
	e.Ready("one")
	wantTable(e, "node1", "round-robin", 0)
	e.Sh("one", "echo hello > /data/file; sync")

	use(e, second)
	current(e, second)
	wantTable(e, "node1", "queue-length", clusterenv.Limit)
	wantGroups(e, "node1", 2)
	e.Told("persistentvolumeclaim/data", "PathPolicyChanged", "node1", second)
	before := len(e.Beats("one"))
	e.Eventually(clusterenv.Limit, "the pod writes on", func() bool { return len(e.Beats("one")) > before+10 })
	stall := clusterenv.LongestStall(e.Beats("one"))
	t.Logf("the longest write took %.2f s", stall)
	if stall > patience {
		t.Errorf("more than %d s", patience)
	}
	e.Delete("pod/one")
	e.Apply(clusterenv.Pod{Name: "two", Node: "node2", Claim: "data"}.Manifest())
	e.Ready("two")
	wantTable(e, "node2", "queue-length", 0)
	if got := e.Sh("two", "cat /data/file"); got != "hello" {
		t.Errorf("read %q", got)
	}

	use(e, wrong)
	e.Told("persistentvolumeclaim/data", "VolumeModifyFailed", `mutable_parameters["pathSelector"]: "fastest"`, "queue-length")
	current(e, second)
	wantTable(e, "node2", "queue-length", 0)
	e.Delete("pod/two")
	e.Delete("persistentvolumeclaim/data")
}

// attributes makes a VolumeAttributesClass, which is one for the whole cluster.
func attributes(e *clusterenv.Env, name, parameters string) string {
	e.T.Helper()
	name = e.Namespace + "-" + name
	e.Apply(fmt.Sprintf(`apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: %s}
driverName: iscsi.portbind.io
parameters: {%s}
`, name, parameters))
	e.T.Cleanup(func() { _, _ = e.Try("delete", "volumeattributesclass", name, "--ignore-not-found", "--wait=false") })
	return name
}

func use(e *clusterenv.Env, class string) {
	e.T.Helper()
	e.Kubectl("patch", "persistentvolumeclaim", "data", "-p", `{"spec":{"volumeAttributesClassName":"`+class+`"}}`)
}

// current waits until the volume is as the class wants it.
func current(e *clusterenv.Env, class string) {
	e.T.Helper()
	took := e.Eventually(2*time.Minute, "the claim to have the class "+class, func() bool {
		return e.Kubectl("get", "persistentvolumeclaim", "data", "-o", "jsonpath={.status.currentVolumeAttributesClassName}") == class
	})
	e.T.Logf("%s after %.1f s", class, took.Seconds())
}

// wantTable looks for a word in the tables of the node's multipath devices. A map in use has it within a while.
func wantTable(e *clusterenv.Env, node, word string, within time.Duration) {
	e.T.Helper()
	has := func() bool { return strings.Contains(table(e, node), word) }
	if within > 0 {
		e.T.Logf("%s on %s after %.1f s", word, node, e.Eventually(within, word+" in a table of "+node, has).Seconds())
	} else if !has() {
		e.T.Errorf("on %s: %q; wanted %s", node, table(e, node), word)
	}
}

// wantGroups looks for a number of path groups that each start with the selector.
func wantGroups(e *clusterenv.Env, node string, want int) {
	e.T.Helper()
	if got := strings.Count(table(e, node), "queue-length"); got != want {
		e.T.Errorf("on %s: %d path groups, want %d: %q", node, got, want, table(e, node))
	}
}

func table(e *clusterenv.Env, node string) string {
	e.T.Helper()
	return e.Node(node).Run("dmsetup", "table", "--target", "multipath")
}
