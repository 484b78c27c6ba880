package attach

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// A removed disk's name ("sdb") is free at once, and the next disk gets it. udevd hears of the removal later, and
// multipathd, which goes by names, after it: when that name is in the next volume's map by then, multipathd takes the
// wrong path out, at worst all of them, and stops queueing. So names stay taken until both have seen the removal: the
// kernel frees a disk's number when its last file is closed (scsi_disk_release), and we have one open. Where there is none, as
// of a disk that is offline, nothing looks for new disks until then (loose.go).

// unseenPatience is how long an event of udevd may take; without udevd it never comes.
const unseenPatience = 60 * time.Second

// pins keep the names of disks taken.
type pins struct {
	mu    sync.Mutex
	files []*os.File
	disks []sysfs.Disk
	there []pinned
	seen  []<-chan struct{}
}

// pinned is a disk that was there, with its path down or not. When held, its name cannot become another disk's.
type pinned struct {
	disk       sysfs.Disk
	down, held bool
}

// pin opens the disks, which reads nothing from them; it is to be called before the map is removed. A disk that cannot
// be opened any more is watched all the same.
func (a *Attacher) pin(disks []sysfs.Disk) *pins {
	p := &pins{disks: disks}
	for _, d := range disks {
		p.seen = append(p.seen, a.udev.ExpectRemoval(d.Name))
		held := p.open(filepath.Join(a.cfg.Dev, d.Name), d)
		// All that can be read is read now: when the map goes, udev and multipathd become busy.
		if there, down := a.condition(d); there {
			p.there = append(p.there, pinned{disk: d, down: down, held: held})
		}
	}
	return p
}

// open keeps the disk open, if it is the one meant.
func (p *pins) open(node string, d sysfs.Disk) bool {
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Rdev != unix.Mkdev(d.Major, d.Minor) {
		_ = f.Close()
		return false
	}
	p.files = append(p.files, f)
	return true
}

// hold says that all names are kept taken.
func (p *pins) hold() bool { return len(p.files) == len(p.disks) }

// release lets the names go.
func (p *pins) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		_ = f.Close()
	}
	p.files = nil
}

// depart lets go of the names, and of the map's uuid and number when there was one, once the removals were seen.
func (a *Attacher) depart(p *pins, left *departure, removals *sync.WaitGroup) {
	if len(p.disks) == 0 && left == nil {
		return
	}
	seen := func() {}
	if !p.hold() {
		seen = a.loose.add()
	}
	a.background(func(ctx context.Context) {
		defer seen()
		defer p.release()
		defer a.gone(left)
		removals.Wait()
		ctx, cancel := context.WithTimeout(ctx, unseenPatience)
		defer cancel()
		a.awaitSeen(ctx, p, left)
	})
}

// awaitSeen returns when udevd has handled all removals and multipathd what udevd then told it.
func (a *Attacher) awaitSeen(ctx context.Context, p *pins, left *departure) {
	if a.udev == nil {
		_ = sleep(ctx, 5*time.Second)
		return
	}
	all := p.seen
	if left != nil {
		all = append(slices.Clone(all), left.seen)
	}
	for _, ch := range all {
		select {
		case <-ch:
		case <-ctx.Done():
			return
		}
	}
	for sleep(ctx, 20*time.Millisecond) == nil {
		if !a.multipathdBehind(ctx, p.disks) {
			return
		}
	}
}

// multipathdBehind says whether multipathd has events to handle, or knows one of these disks still.
func (a *Attacher) multipathdBehind(ctx context.Context, disks []sysfs.Disk) bool {
	if busy, err := a.mpd.Busy(ctx); err != nil || busy {
		return err == nil
	}
	known, err := a.mpd.KnownPaths(ctx)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(disks, func(d sysfs.Disk) bool {
		return slices.ContainsFunc(known, func(k multipath.KnownPath) bool { return k.Disk == d.Name && k.HCTL == d.HCTL.String() })
	})
}
