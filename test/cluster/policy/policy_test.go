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

// TestAttributesClass: a claim is made with one class and given another; a pod that comes to another node has the volume by the
// second one. A third, wrong one is refused in words, and the second stays.
func TestAttributesClass(t *testing.T) {
	e := clusterenv.New(t)
	first := attributes(e, "first", "pathSelector: round-robin")
	second := attributes(e, "second", "pathSelector: queue-length, preferredInterface: san-b")
	wrong := attributes(e, "wrong", "pathSelector: fastest")
	e.Apply(clusterenv.Claim{Name: "data", Attributes: first}.Manifest(), clusterenv.Pod{Name: "one", Node: "node1", Claim: "data"}.Manifest())
	e.Ready("one")
	wantTable(e, "node1", "round-robin")
	e.Sh("one", "echo hello > /data/file; sync")

	use(e, second)
	current(e, second)
	e.Delete("pod/one")
	e.Apply(clusterenv.Pod{Name: "two", Node: "node2", Claim: "data"}.Manifest())
	e.Ready("two")
	wantTable(e, "node2", "queue-length")
	if got := e.Sh("two", "cat /data/file"); got != "hello" {
		t.Errorf("read %q", got)
	}

	use(e, wrong)
	e.Told("persistentvolumeclaim/data", "VolumeModifyFailed", `mutable_parameters["pathSelector"]: "fastest"`, "queue-length")
	current(e, second)
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

func wantTable(e *clusterenv.Env, node, word string) {
	e.T.Helper()
	if table := e.Node(node).Run("dmsetup", "table", "--target", "multipath"); !strings.Contains(table, word) {
		e.T.Errorf("on %s: %q; wanted %s", node, table, word)
	}
}
