//go:build cluster

package workloads

import (
	"strconv"
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// Each file system is made and mounted as its class says, grows while no pod uses it, and then belongs to the group that a pod on
// another node asks for, old files included.
func TestFileSystem(t *testing.T) {
	t.Parallel()
	for _, fsType := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fsType, func(t *testing.T) { fileSystem(clusterenv.Shared(t), fsType) })
	}
}

func fileSystem(e *clusterenv.Env, fsType string) {
	class := e.Class("class", clusterenv.Class{
		Parameters: map[string]string{"interfaces": "san-a,san-b", "fsType": fsType}, Options: []string{"noatime", "discard"},
	})
	e.Apply(clusterenv.Claim{Name: "data", Class: class}.Manifest(),
		clusterenv.Pod{Name: "first", Node: "node1", Claim: "data"}.Manifest())
	e.Ready("first")
	checkMount(e, "first", fsType)
	e.Sh("first", "echo one > /data/old; chmod 0640 /data/old; sync")
	before := kilobytes(e, "first")
	e.Delete("pod/first")

	e.Kubectl("patch", "persistentvolumeclaim", "data", "--patch", `{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}`)
	e.Eventually(clusterenv.Limit, "the volume has 2 GiB", func() bool {
		return e.Kubectl("get", "persistentvolume", volumeOf(e, "data"), "-o", "jsonpath={.spec.capacity.storage}") == "2Gi"
	})
	e.Apply(clusterenv.Pod{
		Name: "second", Node: "node2", Claim: "data", Spec: "securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 4711}",
	}.Manifest())
	e.Ready("second")
	if after := kilobytes(e, "second"); after < before+900<<10 {
		e.T.Errorf("grown by 1 GiB, the file system went from %d KiB to %d KiB", before, after)
	}
	e.Sh("second", "echo two >> /data/old; echo new > /data/new; sync")
	want := "one\ntwo\n4711 /data\n4711 /data/old\n4711 /data/new"
	if got := e.Sh("second", "cat /data/old; stat -c '%g %n' /data /data/old /data/new"); got != want {
		e.T.Errorf("with fsGroup 4711 the volume has\n%s\nnot\n%s", got, want)
	}
	checkMount(e, "second", fsType)
	e.Delete("pod/second")
	e.Delete("persistentvolumeclaim/data")
}

// checkMount looks at the mount in the pod.
func checkMount(e *clusterenv.Env, pod, fsType string) {
	e.T.Helper()
	fields := strings.Fields(e.Sh(pod, "grep ' /data ' /proc/mounts"))
	if len(fields) < 4 || fields[2] != fsType {
		e.T.Fatalf("the mount is %q, not of %s", fields, fsType)
	}
	for _, want := range []string{"rw", "noatime", "discard"} {
		if !strings.Contains(","+fields[3]+",", ","+want) {
			e.T.Errorf("%s is mounted with %s, without %s", fsType, fields[3], want)
		}
	}
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
