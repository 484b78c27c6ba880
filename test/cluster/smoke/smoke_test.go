//go:build cluster

package smoke

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// A volume is made for a pod, bound on every path, and has its data on another node too.
func TestFileSystem(t *testing.T) {
	e := clusterenv.New(t)
	began := time.Now()
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), clusterenv.Pod{Name: "first", Node: "node1", Claim: "data"}.Manifest())
	e.Ready("first")
	t.Logf("from nothing to a running pod: %.1f s", time.Since(began).Seconds())
	wantPaths(t, e.Node("node1"), 4)
	sum := e.Sh("first", "dd if=/dev/urandom of=/data/file bs=1M count=64 2>/dev/null; sync; sha256sum < /data/file")

	t.Logf("pod deleted: %.1f s", e.Delete("pod/first").Seconds())
	e.Apply(clusterenv.Pod{Name: "second", Node: "node2", Claim: "data"}.Manifest())
	t.Logf("pod running on the other node: %.1f s", e.Ready("second").Seconds())
	wantPaths(t, e.Node("node2"), 4)
	if got := e.Sh("second", "sha256sum < /data/file"); got != sum {
		t.Errorf("on the other node the file is %s, not %s", got, sum)
	}
	e.Delete("pod/second")
	e.Delete("persistentvolumeclaim/data")
}

// The same with a raw block device.
func TestBlock(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data", Block: true}.Manifest(),
		clusterenv.Pod{Name: "first", Node: "node1", Claim: "data", Block: true}.Manifest())
	e.Ready("first")
	const read = "dd if=/dev/data bs=1M skip=100 count=16 2>/dev/null | sha256sum"
	e.Sh("first", "dd if=/dev/urandom of=/dev/data bs=1M seek=100 count=16 conv=fsync 2>/dev/null")
	sum := e.Sh("first", read)
	e.Delete("pod/first")
	e.Apply(clusterenv.Pod{Name: "second", Node: "node2", Claim: "data", Block: true}.Manifest())
	e.Ready("second")
	if got := e.Sh("second", read); got != sum {
		t.Errorf("on the other node the blocks are %s, not %s", got, sum)
	}
	e.Delete("pod/second")
	e.Delete("persistentvolumeclaim/data")
}

// A pod writes on while a NIC's plug is pulled, and its volume has all paths again afterwards. Events on the claim and metrics tell
// what is lost and what is left.
func TestLinkCut(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(),
		clusterenv.Pod{Name: "writer", Node: "node1", Claim: "data", Script: clusterenv.Beats}.Manifest())
	e.Ready("writer")
	node := e.Node("node1")
	wantPaths(t, node, 4)
	e.Eventually(clusterenv.Limit, "the pod writes", func() bool { return len(e.Beats("writer")) > 10 })
	node.LinkDown("san0")
	e.Eventually(clusterenv.Limit, "two paths of four are left", func() bool {
		active, failed := node.Paths()
		return active == 2 && active+failed == 4
	})
	e.Told("persistentvolumeclaim/data", "RedundancyLost", "2 of 4 paths are left on node node1", "san-a (san0)")
	wantMetric(e, "portbind_volume_paths_working", "2")
	before := len(e.Beats("writer"))
	e.Eventually(clusterenv.Limit, "the pod writes on", func() bool { return len(e.Beats("writer")) > before+10 })
	node.LinkUp("san0")
	t.Logf("plug in again, until all paths were back: %.1f s", wantPaths(t, node, 4).Seconds())
	e.Told("persistentvolumeclaim/data", "RedundancyRestored", "All 4 paths work again on node node1")
	wantMetric(e, "portbind_volume_paths_working", "4")
	t.Logf("longest stall of the pod: %.1f s", longest(e.Beats("writer")))
	e.Delete("pod/writer")
	e.Delete("persistentvolumeclaim/data")
}

// A snapshot keeps what the file had, and becomes a larger volume on the other node.
func TestSnapshot(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), clusterenv.Pod{Name: "first", Node: "node1", Claim: "data"}.Manifest())
	e.Ready("first")
	e.Sh("first", "echo before > /data/file; sync")
	e.Apply(clusterenv.Snapshot("snap", "data"))
	e.Kubectl("wait", "--for=jsonpath={.status.readyToUse}=true", "volumesnapshot/snap", "--timeout="+clusterenv.Limit.String())
	e.Sh("first", "echo after > /data/file; sync")
	e.Apply(clusterenv.Claim{Name: "restored", From: "snap", Size: "2Gi"}.Manifest(),
		clusterenv.Pod{Name: "second", Node: "node2", Claim: "restored"}.Manifest())
	e.Ready("second")
	if got := e.Sh("second", "cat /data/file"); got != "before" {
		t.Errorf("the restored file has %q", got)
	}
	if got := kilobytes(e, "second"); got < 1800<<10 {
		t.Errorf("the restored file system has %d KiB", got)
	}
	e.Delete("pod/first", "pod/second")
	e.Delete("volumesnapshot/snap", "persistentvolumeclaim/data", "persistentvolumeclaim/restored")
}

// A file system grows under a running pod.
func TestExpansion(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), clusterenv.Pod{Name: "first", Claim: "data"}.Manifest())
	e.Ready("first")
	e.Kubectl("patch", "persistentvolumeclaim", "data", "--patch", `{"spec": {"resources": {"requests": {"storage": "3Gi"}}}}`)
	took := e.Eventually(clusterenv.Limit, "the file system has 3 GiB", func() bool { return kilobytes(e, "first") > 2800<<10 })
	t.Logf("expansion: %.1f s", took.Seconds())
	e.Delete("pod/first")
	e.Delete("persistentvolumeclaim/data")
}

// kilobytes is the size of the pod's file system.
func kilobytes(e *clusterenv.Env, pod string) int {
	fields := strings.Fields(e.Sh(pod, "df -kP /data | tail -n 1"))
	n, err := strconv.Atoi(fields[1])
	if err != nil {
		e.T.Fatalf("df: %q", fields)
	}
	return n
}

// After a power failure of its node, the pod is back on it with its data.
func TestPowerFailure(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), clusterenv.Pod{Name: "first", Node: "node1", Claim: "data"}.Manifest())
	e.Ready("first")
	e.Sh("first", "echo precious > /data/file; sync")
	node := e.Node("node1")
	node.PowerOff()
	node.PowerOn()
	took := e.Eventually(clusterenv.Limit, "the pod runs again", func() bool {
		out, err := e.Try("get", "pod", "first", "-o", `jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}`)
		return err == nil && out == "1 true"
	})
	t.Logf("pod running again: %.1f s", took.Seconds())
	if got := e.Sh("first", "cat /data/file"); got != "precious" {
		t.Errorf("after the power failure the file has %q", got)
	}
	wantPaths(t, node, 4)
	e.Delete("pod/first")
	e.Delete("persistentvolumeclaim/data")
}

func longest(beats []float64) float64 {
	gap := 0.0
	for i := 1; i < len(beats); i++ {
		gap = max(gap, beats[i]-beats[i-1])
	}
	return gap
}

// wantMetric waits for the only series of a metric of the node plugin on node1 to have the value.
func wantMetric(e *clusterenv.Env, name, value string) {
	e.T.Helper()
	e.Eventually(clusterenv.Limit, name+" is "+value, func() bool {
		for line := range strings.Lines(e.Kubectl("get", "--raw", "/api/v1/nodes/node1:9819/proxy/metrics")) {
			if strings.HasPrefix(line, name+"{") {
				return strings.HasSuffix(strings.TrimSpace(line), "} "+value)
			}
		}
		return false
	})
}

func wantPaths(t *testing.T, node *clusterenv.Machine, n int) time.Duration {
	t.Helper()
	return node.Eventually(clusterenv.Limit, strconv.Itoa(n)+" paths", func() bool {
		active, failed := node.Paths()
		return active == n && failed == 0
	})
}
