//go:build lab

package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// many is how many volumes are attached at once.
const many = 50

// maxRSS is what the node plugin may need with many volumes staged.
const maxRSS = 64 * mib

// TestManyAtOnce attaches many formatted volumes at once, and by hand one after the other.
func TestManyAtOnce(t *testing.T) {
	b := newBed(t, labenv.StackOptions{
		Node:   labenv.NodeOptions{Config: map[string]any{"sessionLinger": "30m"}},
		Target: labenv.TargetOptions{},
	})
	volumes := make([]*volume, many)
	creates := samples{}
	for i := range volumes {
		start := time.Now()
		volumes[i] = b.create(fmt.Sprintf("many-%02d", i), nil)
		creates = append(creates, time.Since(start))
		volumes[i].call(volumes[i].ControllerPublish)
	}
	t.Logf("%d volumes made, %v each", many, creates.median())
	all(volumes, func(v *volume) { v.call(v.Stage) }) // formats
	all(volumes, func(v *volume) { v.call(v.Unstage) })
	b.quiet()
	before := rss(t, b.Node.PID())

	start := time.Now()
	took, each := atOnce(volumes, func(v *volume) time.Duration { return v.call(v.Stage) })
	for _, v := range volumes {
		v.paths()
	}
	after := rss(t, b.Node.PID())
	t.Logf("attached %d in %v, longest call %v; the node plugin has %d MiB, before %d", many, took, each.max(), after/mib, before/mib)
	b.quiet()
	t.Logf("udevd and multipathd are done after %v", time.Since(start))
	settled := rss(t, b.Node.PID())
	down, eachDown := atOnce(volumes, func(v *volume) time.Duration { return v.call(v.Unstage) })
	b.quiet()

	bare := bareOneByOne(b, volumes[:many/5])
	tab := &table{
		Title: fmt.Sprintf("%d attaches at once", many), Header: []string{"", "Portbind, total", "per volume", "one call, median", "one call, longest"},
		Note: fmt.Sprintf("Formatted ext4 volumes of one target, sessions up, all calls made at the same moment; paths: %d. By hand: %d of them "+
			"one after the other.", many*allPaths, many/5),
	}
	tab.add("attach", took, took/many, each.median(), each.max())
	tab.add("detach", down, down/many, eachDown.median(), eachDown.max())
	tab.add("bare attach, one after the other", "", bare.median(), bare.median(), bare.max())
	publish(t, tab)
	publishRSS(t, before, after, settled)
	for _, v := range volumes {
		v.delete()
	}
	b.logoutAll()
}

func publishRSS(t *testing.T, before, after, settled int64) {
	t.Helper()
	tab := &table{Title: "Memory of the node plugin", Note: "VmRSS and VmHWM of portbind-csi node.", Header: []string{"", "MiB"}}
	tab.add("no volume staged", float64(before)/mib)
	tab.add(fmt.Sprintf("%d volumes just staged", many), float64(after)/mib)
	tab.add("a while later", float64(settled)/mib)
	publish(t, tab)
	if max(after, settled) > maxRSS {
		t.Errorf("%d MiB with %d volumes; goal: %d", max(after, settled)/mib, many, maxRSS/mib)
	}
}

// all calls f for each volume, all at once.
func all(volumes []*volume, f func(v *volume)) {
	var wg sync.WaitGroup
	for _, v := range volumes {
		wg.Go(func() { f(v) })
	}
	wg.Wait()
}

// atOnce is all with the times: until the last had ended, and of each.
func atOnce(volumes []*volume, f func(v *volume) time.Duration) (total time.Duration, each samples) {
	var mu sync.Mutex
	start := time.Now()
	all(volumes, func(v *volume) {
		took := f(v)
		mu.Lock()
		defer mu.Unlock()
		each = append(each, took)
	})
	return time.Since(start), each
}

func bareOneByOne(b *bed, volumes []*volume) (each samples) {
	b.T.Helper()
	for _, v := range volumes {
		by := v.bare()
		each = append(each, by.attach(b.mnt).total())
		by.detach(b.mnt)
		b.quiet()
	}
	return each
}

// rss is a process's resident memory in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(t, err)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			check(t, err)
			return kib << 10
		}
	}
	t.Fatalf("no VmRSS of process %d", pid)
	return 0
}
