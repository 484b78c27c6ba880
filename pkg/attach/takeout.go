package attach

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// quietTime is how long commands under way over paths that leave are waited for: longer than a lost session's timers.
const quietTime = 8 * time.Second

// takeOut takes disks out of a live map, with enough others in it. First the map is told not to use them, and what is under way
// over them ends, as it would without us: on its path, or, when that is lost, by its session's timers. Nothing else waits
// meanwhile. Then the map gets a table without them, all at once: by one path after the other, as multipathd does it, those that are
// still to go would be used again in between. For the change the kernel holds I/O back until nothing is under way; so no command
// is ever sent again while its first copy may still be acted upon (docs/instant-failover.md). multipathd learns of it from the
// removal of the disks.
func (a *Attacher) takeOut(ctx context.Context, x *exodus, info multipath.Info, disks []sysfs.Disk) error {
	for range joinTries {
		t, err := a.checkedTable(info, disks)
		if err != nil {
			return err
		}
		in := slices.DeleteFunc(slices.Clone(disks), func(d sysfs.Disk) bool { return !t.Covers(numbers([]sysfs.Disk{d})) })
		if len(in) == 0 {
			return nil
		}
		if err := a.enough(x, info, disks, nil); err != nil {
			return err
		}
		if err := a.enough(x, info, disks, x.silent()); err != nil {
			return err
		}
		used, err := a.used(info, in)
		if err != nil {
			return err
		}
		a.message(ctx, info, "fail_path", used)
		err = a.quiet(ctx, in)
		if err == nil {
			err = a.enough(x, info, disks, x.silent())
		}
		if err != nil {
			a.message(context.WithoutCancel(ctx), info, "reinstate_path", used)
			return err
		}
		t.Groups = without(t.Groups, numbers(in))
		if err := a.dm.Reload(info.UUID, t); err != nil {
			return err
		}
	}
	return fmt.Errorf("something puts paths back into map %s: %w", info.Name, ErrStays)
}

// without gives the groups less some paths, and no empty group.
func without(groups [][]multipath.Devno, gone []multipath.Devno) [][]multipath.Devno {
	var left [][]multipath.Devno
	for _, g := range groups {
		g = slices.DeleteFunc(slices.Clone(g), func(n multipath.Devno) bool { return slices.Contains(gone, n) })
		if len(g) > 0 {
			left = append(left, g)
		}
	}
	return left
}

// used gives those of the disks that the map sends I/O to.
func (a *Attacher) used(info multipath.Info, disks []sysfs.Disk) ([]sysfs.Disk, error) {
	states, err := a.dm.PathStates(info.UUID)
	return slices.DeleteFunc(slices.Clone(disks), func(d sysfs.Disk) bool { return stateOf(states, devno(d)) != StateActive }), err
}

// message tells the kernel's map to avoid paths, or to use them. A path that has left meanwhile is refused, and nothing is amiss.
func (a *Attacher) message(ctx context.Context, info multipath.Info, verb string, disks []sysfs.Disk) {
	for _, d := range disks {
		if err := a.dm.Message(info.UUID, verb+" "+devno(d).String()); err != nil {
			klog.FromContext(ctx).V(2).Info("A map was not told", "map", info.Name, "message", verb, "disk", d.Name, "reason", err.Error())
		}
	}
}

// quiet waits until no command of the map is under way over the disks.
func (a *Attacher) quiet(ctx context.Context, disks []sysfs.Disk) error {
	ctx, cancel := context.WithTimeout(ctx, quietTime)
	defer cancel()
	for {
		busy := slices.IndexFunc(disks, a.underWay)
		if busy < 0 {
			return nil
		}
		if sleep(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("commands are under way over %s: %w", disks[busy].Name, ErrStays)
		}
	}
}

// underWay reads how many reads and writes the disk is at. One that is gone is at none.
func (a *Attacher) underWay(d sysfs.Disk) bool {
	text, err := os.ReadFile(filepath.Join(string(a.sys), "block", d.Name, "inflight"))
	return err == nil && slices.ContainsFunc(strings.Fields(string(text)), func(n string) bool { return n != "0" })
}

// enough says whether a volume does without some of its disks: as many others work as minPaths asks for, or all that there can be
// if those are fewer, and at least one. Silent sessions do not count.
func (a *Attacher) enough(x *exodus, info multipath.Info, leaving []sysfs.Disk, silent map[int]bool) error {
	states, err := a.dm.PathStates(info.UUID)
	if err != nil {
		return err
	}
	e := &StaysError{WWID: leaving[0].WWID, Interfaces: x.names(leaving), Want: 1}
	for _, s := range states {
		if s.Active && !slices.Contains(numbers(leaving), s.Devno) && a.carries(x, s.Devno, silent) {
			e.Have++
		}
	}
	spec := x.specs[e.WWID]
	pairs, _ := wanted(spec, x.res) // what is wrong with the others Heal tells
	others := 0
	for _, p := range pairs {
		leaves := slices.ContainsFunc(leaving, func(d sysfs.Disk) bool {
			s := x.hosts[d.HCTL.Host]
			return s.Iface == iscsi.IfaceName(p.Interface.Name) && asked(s) == p.Portal
		})
		if !leaves {
			others++
		}
	}
	if e.Want = max(1, min(spec.MinPaths, others)); e.Have < e.Want {
		return e
	}
	return nil
}

// carries says that a path takes I/O, as far as is known from here: of another's session the map alone says it.
func (a *Attacher) carries(x *exodus, n multipath.Devno, silent map[int]bool) bool {
	d, err := a.diskByNumber(n)
	if err != nil || d.State != sysfs.DiskRunning {
		return false
	}
	s, ours := x.hosts[d.HCTL.Host]
	if !ours {
		return true
	}
	s, err = a.sys.Session(s.ID)
	return err == nil && s.LoggedIn() && !a.noLink(s.NIC) && !silent[s.ID]
}
