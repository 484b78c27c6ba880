//go:build cluster

package restarts

import (
	"fmt"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// Shell conditions about a node that has one volume at most.
const (
	recorded = `set -- /var/lib/portbind/volumes/*.json; [ -e "$1" ]`
	session  = `set -- /sys/class/iscsi_session/session*; [ -e "$1" ]`
	disk     = `set -- /sys/class/scsi_disk/*; [ -e "$1" ]`
	mapped   = `set -- /sys/block/dm-*; [ -e "$1" ]`
	mounted  = `grep -q /globalmount /proc/mounts`
)

// Row 13 of the scorecard, with a kubelet that repeats the calls: the node plugin is killed while it stages a volume and while it unstages
// it, as soon as each thing of the volume is there or gone. The pods run and end all the same, the data stays, nothing is left over. test/lab/kill
// does it at each system call.
func TestPluginKilled(t *testing.T) {
	e := clusterenv.New(t)
	node := e.Node("node1")
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest())
	for i, step := range []struct{ coming, going string }{
		{recorded, "! { " + mounted + "; }"},
		{session, "! { " + mapped + "; }"},
		{disk, "! { " + disk + "; }"},
		{mapped, "! { " + recorded + "; }"},
		{mounted, "true"},
	} {
		pod := fmt.Sprintf("pod-%d", i)
		killed := killWhen(e, node, step.coming)
		began := time.Now()
		e.Apply(clusterenv.Pod{Name: pod, Node: node.Name, Claim: "data"}.Manifest())
		killed()
		e.Ready(pod)
		staged := time.Since(began)
		e.DriverReady()
		e.Sh(pod, fmt.Sprintf("echo %d >> /data/file; sync", i))

		killed = killWhen(e, node, step.going)
		began = time.Now()
		e.Kubectl("delete", "--wait=false", "pod/"+pod)
		killed()
		e.Kubectl("wait", "--for=delete", "pod/"+pod, "--timeout="+clusterenv.Limit.String())
		node.Eventually(clusterenv.Limit, "nothing of the volume", func() bool { return len(node.Volumes()) == 0 })
		t.Logf("killed at %q and %q: ready after %.1f s, gone after %.1f s", step.coming, step.going, staged.Seconds(), time.Since(began).Seconds())
		e.DriverReady()
	}
	e.Apply(clusterenv.Pod{Name: "last", Node: node.Name, Claim: "data"}.Manifest())
	e.Ready("last")
	if got := e.Sh("last", "cat /data/file"); got != "0\n1\n2\n3\n4" {
		t.Errorf("the file has %q", got)
	}
	e.Delete("pod/last")
	e.Delete("persistentvolumeclaim/data")
}

// killWhen kills the node plugin as soon as the condition holds. The function that it gives waits until that has happened, and then deletes
// the pod, whose container kubelet would start again later each time.
func killWhen(e *clusterenv.Env, node *clusterenv.Machine, condition string) (killed func()) {
	e.T.Helper()
	plugin := e.NodePlugin(node.Name)
	done := make(chan error, 1)
	go func() {
		_, err := node.Try("timeout", "55", "sh", "-c", "until "+condition+"; do sleep 0.02; done; pkill -KILL -f '^/portbind-csi node '")
		done <- err
	}()
	return func() {
		e.T.Helper()
		if err := <-done; err != nil {
			e.T.Fatalf("kill the plugin when %s: %v", condition, err)
		}
		e.Driver("delete", "--wait=false", plugin)
		e.Eventually(clusterenv.Limit, "another node plugin", func() bool {
			pods := e.DriverPods("node", "--field-selector", "spec.nodeName="+node.Name)
			return len(pods) == 1 && pods[0] != plugin
		})
	}
}
