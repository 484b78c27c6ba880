//go:build cluster

package workloads

import (
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// volumeOf is the PersistentVolume of a claim; empty when it has none.
func volumeOf(e *clusterenv.Env, claim string) string {
	return e.Kubectl("get", "persistentvolumeclaim", claim, "-o", "jsonpath={.spec.volumeName}")
}

// onTarget says whether the storage host has a volume.
func onTarget(e *clusterenv.Env, volume string) bool {
	return strings.Contains(e.Target.Run("lvs", "--noheadings", "-o", "lv_name"), volume)
}

// A volume that is part of a pod goes with it, down to the storage host.
func TestEphemeral(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Pod{Name: "pod", Source: `ephemeral: {volumeClaimTemplate: {spec: {
      storageClassName: portbind, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}`}.Manifest())
	e.Ready("pod")
	e.Sh("pod", "echo scratch > /data/file; sync")
	volume := volumeOf(e, "pod-data")
	if !onTarget(e, volume) {
		t.Fatalf("the storage host has no volume %q", volume)
	}
	e.Delete("pod/pod")
	e.Eventually(clusterenv.Limit, "claim and volume are gone", func() bool {
		return e.Kubectl("get", "persistentvolumeclaims", "-o", "name") == "" &&
			!strings.Contains(e.Kubectl("get", "persistentvolumes", "-o", "name"), volume)
	})
	if onTarget(e, volume) {
		t.Errorf("the storage host still has volume %s", volume)
	}
}

// A pod sees the directory of the volume that it asked for, and nothing else.
func TestSubPath(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(),
		clusterenv.Pod{Name: "part", Node: "node1", Claim: "data", Mount: "subPath: some/where"}.Manifest(),
		clusterenv.Pod{Name: "whole", Node: "node1", Claim: "data"}.Manifest())
	e.Ready("part", "whole")
	e.Sh("part", "echo mine > /data/file; sync")
	if got := e.Sh("part", "ls -A /data"); got != "file" {
		t.Errorf("the part holds %q", got)
	}
	if got := e.Sh("whole", "cat /data/some/where/file; ls -A /data | grep -v lost+found"); got != "mine\nsome" {
		t.Errorf("the whole holds %q", got)
	}
	e.Delete("pod/part", "pod/whole")
	e.Delete("persistentvolumeclaim/data")
}

// A class with Immediate makes the volume for the claim alone, to be used where its interfaces are.
func TestImmediate(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data", Class: "portbind-immediate"}.Manifest())
	e.Kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "persistentvolumeclaim/data", "--timeout="+clusterenv.Limit.String())
	affinity := e.Kubectl("get", "persistentvolume", volumeOf(e, "data"), "-o", "jsonpath={.spec.nodeAffinity.required}")
	for _, name := range []string{"san-a", "san-b"} {
		if !strings.Contains(affinity, `{"key":"topology.iscsi.portbind.io/`+name+`","operator":"In","values":["true"]}`) {
			t.Errorf("the volume's affinity does not ask for %s: %s", name, affinity)
		}
	}
	e.Apply(clusterenv.Pod{Name: "pod", Claim: "data"}.Manifest())
	e.Ready("pod")
	e.Delete("pod/pod")
	e.Delete("persistentvolumeclaim/data")
}

// A class with WaitForFirstConsumer makes the volume when there is a pod.
func TestWaitForFirstConsumer(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest())
	e.Told("persistentvolumeclaim/data", "WaitForFirstConsumer", "waiting for first consumer")
	if volume := volumeOf(e, "data"); volume != "" {
		t.Errorf("there is volume %s without a pod", volume)
	}
	e.Apply(clusterenv.Pod{Name: "pod", Claim: "data"}.Manifest())
	e.Ready("pod")
	if volume := volumeOf(e, "data"); volume == "" || !onTarget(e, volume) {
		t.Errorf("the pod runs, the storage host has no volume %q", volume)
	}
	e.Delete("pod/pod")
	e.Delete("persistentvolumeclaim/data")
}
