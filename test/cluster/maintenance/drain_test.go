//go:build cluster

// Package maintenance takes NICs out of use and gives them back, with the kubectl plugin.
package maintenance

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// patience is the longest that a write may take, in seconds: a busy node of the lab is slow.
const patience = 10

// TestDrain drains a NIC under a pod that writes, pulls its plug, puts it in again and gives the NIC back. The pod sees none of it,
// and nobody is told of lost redundancy. The other NIC cannot be drained as well.
func TestDrain(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(),
		clusterenv.Pod{Name: "writer", Node: "node1", Claim: "data", Script: clusterenv.Beats}.Manifest())
	e.Ready("writer")
	node := e.Node("node1")
	node.Eventually(clusterenv.Limit, "four paths", func() bool { active, _ := node.Paths(); return active == 4 })
	t.Cleanup(func() { _, _, _ = portbind("undrain", "san-a", "--node", "node1") })

	out, code := plugin(t, "drain", "san-a", "--node", "node1")
	t.Logf("drain: exit status %d\n%s", code, out)
	if active, failed := node.Paths(); code != 0 || active != 2 || failed != 0 {
		t.Errorf("after the drain %d paths work, %d do not", active, failed)
	}
	sessions, _ := plugin(t, "sessions", "--node", "node1")
	interfaces, _ := plugin(t, "interfaces", "--node", "node1")
	t.Logf("\n%s\n%s", sessions, interfaces)
	if strings.Contains(sessions, "san-a") || !strings.Contains(interfaces, "Drained") {
		t.Error("the views show another thing")
	}
	if out, code = plugin(t, "drain", "san-b", "--node", "node1"); code != 1 || !strings.Contains(out, "san-b") {
		t.Errorf("draining the last NIC: exit status %d\n%s", code, out)
	}

	node.LinkDown("san0")
	writesOn(e)
	node.LinkUp("san0")
	out, code = plugin(t, "undrain", "san-a", "--node", "node1")
	t.Logf("undrain: exit status %d\n%s", code, out)
	took := node.Eventually(clusterenv.Limit, "four paths again", func() bool { active, _ := node.Paths(); return active == 4 })
	t.Logf("undrained, until all paths were back: %.1f s", took.Seconds())
	writesOn(e)
	stall := clusterenv.LongestStall(e.Beats("writer"))
	t.Logf("longest stall of the pod: %.1f s", stall)
	if stall > patience {
		t.Errorf("more than %d s", patience)
	}
	if events := e.Kubectl("get", "events", "--field-selector", "reason=RedundancyLost", "--output", "name"); events != "" {
		t.Errorf("somebody was told of lost redundancy: %s", events)
	}
	e.Delete("pod/writer")
	e.Delete("persistentvolumeclaim/data")
}

func writesOn(e *clusterenv.Env) {
	e.T.Helper()
	before := len(e.Beats("writer"))
	e.Eventually(clusterenv.Limit, "the pod writes on", func() bool { return len(e.Beats("writer")) > before+10 })
}

// plugin runs kubectl portbind, which must be able to run, and gives all that it says, and its exit status.
func plugin(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	out, code, err := portbind(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out, code
}

func portbind(args ...string) (out string, code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), clusterenv.Limit+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"portbind"}, args...)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return said.String(), exit.ExitCode(), nil
	}
	return said.String(), 0, err
}
