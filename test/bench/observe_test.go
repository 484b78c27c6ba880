//go:build lab

package bench

import (
	"sync"
	"time"

	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

// milestone is a state of the kernel on the way to a mounted volume.
type milestone struct {
	name string
	ok   func() bool
}

// milestones of a volume, in the order in which they are passed. They are looked for from outside, in sysfs and
// device-mapper, so that they mean the same whoever does the work.
func (v *volume) milestones() []milestone {
	iqn := v.VolumeContext["iqn"]
	loggedIn := func() (n int) {
		for _, s := range labenv.Sessions() {
			if s.Target == iqn && s.State == sysfs.SessionLoggedIn {
				n++
			}
		}
		return n
	}
	disks := func() int {
		found, err := sysfs.Default.DisksByWWID(v.WWID())
		if err != nil {
			return 0
		}
		return len(found)
	}
	return []milestone{
		{"sessions", func() bool { return loggedIn() == allPaths }},
		{"first disk", func() bool { return disks() > 0 }},
		{"all disks", func() bool { return disks() == allPaths }},
		{"map", func() bool { return activePaths(v.b.dm, v.id) > 0 }},
		{"all paths", func() bool { return activePaths(v.b.dm, v.id) == allPaths }},
	}
}

// observe runs f and returns when each milestone was passed while it ran, and the rest up to its end.
func (v *volume) observe(f func()) []phase {
	w := newStopwatch()
	done := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { watch(w, v.milestones(), done) })
	f()
	end := time.Now()
	close(done)
	watcher.Wait()
	if rest := end.Sub(w.last); rest > 0 {
		w.phases = append(w.phases, phase{"rest, with mount", rest})
	}
	return w.phases
}

// watch polls every 3 ms, which costs: runs that are observed do not count for the totals.
func watch(w *stopwatch, ms []milestone, done <-chan struct{}) {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for _, m := range ms {
		for !m.ok() {
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
		w.lap(m.name)
	}
}
