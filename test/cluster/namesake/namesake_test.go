//go:build cluster

// Package namesake has the scenario of nodes that are clones of one disk image, whose initiator name the driver is to use.
package namesake

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// Of two nodes with one initiator name the second is not registered: its Event names the other, a pod there waits, and nobody logs in.
// With a name of its own it is, and the pod runs.
func TestClones(t *testing.T) {
	e := clusterenv.New(t)
	before := ids(e)
	release := e.Release()
	name := fmt.Sprintf("iqn.2026-11.local.lab:clone-%d", time.Now().Unix()) // another each time: Events stay for an hour
	for _, node := range e.Nodes {
		rename(t, node, name)
	}
	release.Change("initiatorName=host")
	first, second := "", ""
	took := e.Eventually(clusterenv.Limit, "one of the nodes is registered with the name, the other is not", func() bool {
		first, second = sides(ids(e), name)
		return first != "" && second != ""
	})
	t.Logf("%s has the name after %.1f s, %s has none", first, took.Seconds(), second)
	e.Told("node/"+second, "DuplicateInitiator", "Node "+first+" has the initiator name of this node, "+name)

	refused := e.Node(second)
	e.Apply(clusterenv.Claim{Name: "data", Class: "portbind-immediate"}.Manifest(),
		clusterenv.Pod{Name: "pod", Node: second, Claim: "data"}.Manifest())
	e.Told("pod/pod", "FailedAttachVolume", second, "does not contain driver iscsi.portbind.io")
	if has := refused.Volumes(); len(has) > 0 {
		t.Errorf("on the refused node there is:\n%s", strings.Join(has, "\n"))
	}

	write(refused, name+"-renamed")
	began := time.Now()
	e.Ready("pod")
	t.Logf("with a name of its own, the node ran the pod after %.1f s", time.Since(began).Seconds())
	if got := ids(e); got[first] != name || got[second] != name+"-renamed" {
		t.Errorf("the nodes are registered as %v", got)
	}
	e.Delete("pod/pod")
	e.Delete("persistentvolumeclaim/data")

	release.Install()
	e.Eventually(clusterenv.Limit, "the nodes have the names that they had before", func() bool {
		now := ids(e)
		return now[first] == before[first] && now[second] == before[second]
	})
}

// ids are the names with which nodes are registered, "" of one that is not.
func ids(e *clusterenv.Env) map[string]string {
	e.T.Helper()
	all := map[string]string{}
	for _, node := range e.Nodes {
		_, all[node.Name], _ = strings.Cut(e.Kubectl("get", "csinode", node.Name, "--output",
			"jsonpath={.spec.drivers[*].name} {.spec.drivers[*].nodeID}"), "iscsi.portbind.io ") // the only one in the lab
	}
	return all
}

// sides are the node that has the name, and the one that has none.
func sides(registered map[string]string, name string) (has, none string) {
	for node, id := range registered {
		switch id {
		case name:
			has = node
		case "":
			none = node
		}
	}
	return has, none
}

const file = "/etc/iscsi/initiatorname.iscsi"

// rename gives the node another initiator name until the test ends.
func rename(t *testing.T, node *clusterenv.Machine, name string) {
	t.Helper()
	node.Run("cp", file, file+".before")
	t.Cleanup(func() { _, _ = node.Try("mv", file+".before", file) })
	write(node, name)
}

func write(node *clusterenv.Machine, name string) {
	node.Run("sh", "-c", `echo "InitiatorName=$1" > `+file, "sh", name)
}
