//go:build cluster

package access

import (
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// Two nodes write a raw block volume at the same time, and each reads what the other wrote, past all caches.
func TestSharedBlock(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data", Block: true, Mode: "ReadWriteMany"}.Manifest(),
		clusterenv.Pod{Name: "one", Node: "node1", Claim: "data", Block: true}.Manifest(),
		clusterenv.Pod{Name: "two", Node: "node2", Claim: "data", Block: true}.Manifest())
	e.Ready("one", "two")
	for at, pods := range [][2]string{{"one", "two"}, {"two", "one"}, {"one", "two"}} {
		where := "bs=1M count=4 seek=" + []string{"0", "64", "0"}[at]
		wrote := e.Sh(pods[0], "dd if=/dev/urandom of=/tmp/blocks bs=1M count=4 2>/dev/null; "+
			"dd if=/tmp/blocks of=/dev/data oflag=direct "+where+" 2>/dev/null; sha256sum < /tmp/blocks")
		read := e.Sh(pods[1], "dd if=/dev/data iflag=direct "+strings.Replace(where, "seek", "skip", 1)+" 2>/dev/null | sha256sum")
		if read != wrote {
			t.Errorf("%s wrote %s, %s reads %s", pods[0], wrote, pods[1], read)
		}
	}
	e.Delete("pod/one", "pod/two")
	e.Delete("persistentvolumeclaim/data")
}

// A file system for several writing nodes is refused, with the reason on the claim.
func TestSharedFileSystem(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data", Class: "portbind-immediate", Mode: "ReadWriteMany"}.Manifest())
	e.Told("persistentvolumeclaim/data", "ProvisioningFailed", "volume_capability.access_mode",
		"several nodes with a writer on a file system is refused", "MULTI_NODE_* for raw block volumes")
	e.Delete("persistentvolumeclaim/data")
}

// A second pod waits until the first one, which has the volume for itself, is gone.
func TestReadWriteOncePod(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data", Mode: "ReadWriteOncePod"}.Manifest(), clusterenv.Pod{Name: "first", Claim: "data"}.Manifest())
	e.Ready("first")
	e.Sh("first", "echo hello > /data/file; sync")
	e.Apply(clusterenv.Pod{Name: "second", Claim: "data"}.Manifest())
	e.Told("pod/second", "FailedScheduling", "ReadWriteOncePod")
	if phase := e.Kubectl("get", "pod", "second", "-o", "jsonpath={.status.phase}"); phase != "Pending" {
		t.Errorf("beside the first pod the second one is %s", phase)
	}
	e.Delete("pod/first")
	e.Ready("second")
	if got := e.Sh("second", "cat /data/file"); got != "hello" {
		t.Errorf("the second pod reads %q", got)
	}
	e.Delete("pod/second")
	e.Delete("persistentvolumeclaim/data")
}

// What was restored from a snapshot for many readers is read on two nodes, and cannot be written on either.
func TestReadOnlyMany(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), clusterenv.Pod{Name: "writer", Claim: "data"}.Manifest())
	e.Ready("writer")
	e.Sh("writer", "echo hello > /data/file; sync")
	e.Apply(clusterenv.Snapshot("snap", "data"))
	e.Kubectl("wait", "--for=jsonpath={.status.readyToUse}=true", "volumesnapshot/snap", "--timeout="+clusterenv.Limit.String())
	e.Apply(clusterenv.Claim{Name: "copy", From: "snap", Mode: "ReadOnlyMany"}.Manifest(),
		clusterenv.Pod{Name: "one", Node: "node1", Claim: "copy"}.Manifest(),
		clusterenv.Pod{Name: "two", Node: "node2", Claim: "copy"}.Manifest())
	e.Ready("one", "two")
	for _, pod := range []string{"one", "two"} {
		if got := e.Sh(pod, "cat /data/file"); got != "hello" {
			t.Errorf("pod %s reads %q", pod, got)
		}
		if got := e.Sh(pod, "if echo no > /data/file; then echo written; fi 2>&1"); !strings.Contains(got, "Read-only file system") {
			t.Errorf("pod %s writes: %q", pod, got)
		}
	}
	e.Delete("pod/writer", "pod/one", "pod/two")
	e.Delete("volumesnapshot/snap", "persistentvolumeclaim/copy", "persistentvolumeclaim/data")
}

// A raw block volume grows under the pod that uses it.
func TestBlockExpansion(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data", Block: true}.Manifest(), clusterenv.Pod{Name: "pod", Claim: "data", Block: true}.Manifest())
	e.Ready("pod")
	const size = "blockdev --getsize64 /dev/data"
	if got := e.Sh("pod", size); got != "1073741824" {
		t.Errorf("a claim of 1 GiB has %s bytes", got)
	}
	e.Kubectl("patch", "persistentvolumeclaim", "data", "--patch", `{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}`)
	e.Eventually(clusterenv.Limit, "the device has 2 GiB", func() bool { return e.Sh("pod", size) == "2147483648" })
	e.Delete("pod/pod")
	e.Delete("persistentvolumeclaim/data")
}
