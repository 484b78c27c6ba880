//go:build cluster

package moves

import (
	"fmt"
	"testing"
	"time"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// A pod moves between the nodes, MOVES times, and each time finds what was written on the other node. Every other time the new
// pod is there before the old one is asked to go, and has to wait for the volume.
func TestMoves(t *testing.T) {
	e := clusterenv.New(t)
	moves := clusterenv.Count(t, "MOVES", 6)
	pod := func(i int) clusterenv.Pod {
		return clusterenv.Pod{Name: fmt.Sprintf("pod-%d", i), Node: fmt.Sprintf("node%d", 1+i%2), Claim: "data"}
	}
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), pod(0).Manifest())
	e.Ready("pod-0")
	sum := fill(e, "pod-0")
	var took []time.Duration
	for i := 1; i <= moves; i++ {
		began := time.Now()
		move(e, pod(i-1), pod(i), i%2 == 0)
		took = append(took, time.Since(began))
		if got := read(e, pod(i).Name); got != sum {
			t.Fatalf("after move %d the file is %s, not %s", i, got, sum)
		}
		sum = fill(e, pod(i).Name)
	}
	t.Logf("%d moves with matching checksums; from asking the old pod to go until the new one ran: %s", moves, spread(took))
	e.Delete("pod/" + pod(moves).Name)
	e.Delete("persistentvolumeclaim/data")
}

// move replaces a pod by one on the other node.
func move(e *clusterenv.Env, from, to clusterenv.Pod, early bool) {
	if early {
		e.Apply(to.Manifest())
	}
	e.Kubectl("delete", "--wait=false", "pod", from.Name)
	if !early {
		e.Apply(to.Manifest())
	}
	e.Ready(to.Name)
}

// fill writes a file of 16 MiB and gives its checksum.
func fill(e *clusterenv.Env, pod string) string {
	return e.Sh(pod, "dd if=/dev/urandom of=/data/file bs=1M count=16 conv=fsync 2>/dev/null; sha256sum < /data/file")
}

func read(e *clusterenv.Env, pod string) string { return e.Sh(pod, "sha256sum < /data/file") }

func spread(times []time.Duration) string {
	shortest, longest, sum := times[0], times[0], time.Duration(0)
	for _, d := range times {
		shortest, longest, sum = min(shortest, d), max(longest, d), sum+d
	}
	mean := sum / time.Duration(len(times))
	return fmt.Sprintf("%.1f s on average, %.1f to %.1f", mean.Seconds(), shortest.Seconds(), longest.Seconds())
}
