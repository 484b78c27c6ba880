//go:build cluster

package restarts

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// The node plugin's pod is deleted, and its replacement killed, beneath a pod that writes.
func TestPluginReplaced(t *testing.T) {
	e := clusterenv.New(t)
	w := write(e, "node1")
	old := e.NodePlugin("node1")
	e.Driver("delete", old)
	e.DriverReady()
	e.Eventually(clusterenv.Limit, "another node plugin", func() bool { return e.NodePlugin("node1") != old })
	w.undisturbed()

	w.node.Run("pkill", "-KILL", "-f", "^/portbind-csi node ")
	e.Eventually(clusterenv.Limit, "the node plugin is started again", func() bool { return pluginRestarts(e, "node1") == "1" })
	e.DriverReady()
	w.undisturbed()
	w.remove()
}

func pluginRestarts(e *clusterenv.Env, node string) string {
	return e.Driver("get", e.NodePlugin(node), "--output",
		`jsonpath={.status.containerStatuses[?(@.name=="portbind-csi")].restartCount}`)
}

// Row 14 of the scorecard: a volume is staged by one plugin and unstaged by the next, which is not even there yet when the pods are
// deleted. A plugin that is killed is the same to it.
func TestReplacedBetweenStageAndUnstage(t *testing.T) {
	e := clusterenv.New(t)
	node := e.Node("node1")
	e.Apply(clusterenv.Claim{Name: "files"}.Manifest(), clusterenv.Pod{Name: "files", Node: node.Name, Claim: "files"}.Manifest(),
		clusterenv.Claim{Name: "blocks", Block: true}.Manifest(),
		clusterenv.Pod{Name: "blocks", Node: node.Name, Claim: "blocks", Block: true}.Manifest())
	e.Ready("files", "blocks")
	e.Sh("files", "echo precious > /data/file; sync")
	e.Driver("delete", "--wait=false", e.NodePlugin(node.Name))
	began := time.Now()
	e.Delete("pod/files", "pod/blocks")
	node.Eventually(clusterenv.Limit, "nothing of the volumes", func() bool { return len(node.Volumes()) == 0 })
	t.Logf("with the plugin replaced meanwhile, pods were gone and everything undone after %.1f s", time.Since(began).Seconds())

	e.DriverReady()
	e.Apply(clusterenv.Pod{Name: "again", Node: node.Name, Claim: "files"}.Manifest())
	e.Ready("again")
	if got := e.Sh("again", "cat /data/file"); got != "precious" {
		t.Errorf("staged again, the file has %q", got)
	}
	e.Delete("pod/again")
	e.Delete("persistentvolumeclaim/files", "persistentvolumeclaim/blocks")
}

// helm upgrade with values that replace every pod of the driver, beneath a pod that writes and while another one is started. What
// the old plugin staged, the new one undoes.
func TestUpgrade(t *testing.T) {
	e := clusterenv.New(t)
	release := e.Release()
	w := write(e, "node1")
	old := slices.Concat(e.DriverPods("node"), e.DriverPods("controller"))
	e.Apply(clusterenv.Claim{Name: "other"}.Manifest(), clusterenv.Pod{Name: "other", Node: "node2", Claim: "other"}.Manifest())
	began := time.Now()
	release.Install("node.podAnnotations.upgraded=yes", "controller.podAnnotations.upgraded=yes")
	t.Logf("upgraded after %.1f s", time.Since(began).Seconds())
	e.Eventually(clusterenv.Limit, "the old pods are gone", func() bool {
		return len(e.DriverPods("node")) == 2 && len(e.DriverPods("controller")) == 2
	})
	without(t, old, slices.Concat(e.DriverPods("node"), e.DriverPods("controller")))
	t.Logf("the pod that was started meanwhile was ready %.1f s after that", e.Ready("other").Seconds())
	w.undisturbed()
	w.remove()
	e.Delete("pod/other")
	e.Delete("persistentvolumeclaim/other")
}

// helm uninstall beneath a pod that writes: it goes on. Deleted, it cannot go before the chart is installed again; then it goes
// without traces.
func TestUninstall(t *testing.T) {
	e := clusterenv.New(t)
	release := e.Release()
	w := write(e, "node1")
	release.Uninstall()
	w.undisturbed()
	w.Kubectl("delete", "--wait=false", "pod", w.pod)
	time.Sleep(20 * time.Second)
	if out, err := e.Try("get", "pod", w.pod, "--output", "jsonpath={.metadata.deletionTimestamp}"); err != nil || out == "" {
		t.Errorf("without the driver the pod is gone: %v", err)
	}
	if !strings.Contains(strings.Join(w.node.Volumes(), "\n"), "map: ") {
		t.Error("without the driver the map is gone")
	}
	release.Install()
	w.Kubectl("wait", "--for=delete", "pod", w.pod, "--timeout="+clusterenv.Limit.String())
	w.nothingLeft()
	w.Delete("persistentvolumeclaim/data")
}
