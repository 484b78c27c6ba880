//go:build cluster

package restarts

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// Row 11 of the scorecard: a node loses its power under a pod that writes, and boots, REBOOTS times. Each time all paths are back
// within two minutes of its being switched on, the pod runs again, what it had written is there, and it writes on.
func TestReboots(t *testing.T) {
	w := write(clusterenv.New(t), "node1")
	sum := w.Sh(w.pod, "dd if=/dev/urandom of=/data/file bs=1M count=16 conv=fsync 2>/dev/null; sha256sum < /data/file")
	for i := range clusterenv.Count(t, "REBOOTS", 2) {
		w.reboot(i)
		if got := w.Sh(w.pod, "sha256sum < /data/file"); got != sum {
			t.Errorf("after %d reboots the file is %s, not %s", i+1, got, sum)
		}
		if t.Failed() {
			break
		}
	}
	w.remove()
}

func (w *writer) reboot(i int) {
	w.T.Helper()
	earlier := restarts(w.Env, w.pod)
	acknowledged := w.Beats(w.pod)
	acknowledged = acknowledged[:len(acknowledged)-1] // the last is perhaps not on the volume yet
	w.node.PowerOff()
	began := time.Now()
	w.node.PowerOn()
	w.pathsBack()
	paths := time.Since(began)
	w.Eventually(clusterenv.Limit, "the pod runs again", func() bool { return w.runsAgain(earlier) })
	w.T.Logf("reboot %d: all paths back after %.1f s, the pod after %.1f s", i+1, paths.Seconds(), time.Since(began).Seconds())
	if paths > 2*time.Minute {
		w.T.Errorf("reboot %d: all paths back after %.1f s", i+1, paths.Seconds())
	}
	if got := w.Beats(w.pod); len(got) < len(acknowledged) || !slices.Equal(got[:len(acknowledged)], acknowledged) {
		w.T.Errorf("reboot %d: of %d acknowledged writes some are not there; %d lines are", i+1, len(acknowledged), len(got))
	}
	w.more(20)
}

// pathsBack waits until the node has all paths. While it boots it answers nothing.
func (w *writer) pathsBack() {
	w.T.Helper()
	w.Eventually(2*clusterenv.Limit, "all paths are back", func() bool {
		active, failed, err := w.node.TryPaths()
		return err == nil && active == 4 && failed == 0
	})
}

func (w *writer) runsAgain(earlier string) bool {
	out, err := w.Try("get", "pod", w.pod, "--output", `jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}`)
	return err == nil && strings.HasSuffix(out, " true") && out != earlier+" true"
}
