package attach

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/scsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// accessTime bounds how long a target may take to say what its port groups are worth.
	accessTime = 3 * time.Second
	// alike is the priority of paths of which the target says nothing, unknown of those that cannot be asked now.
	alike, unknown = 50, -1
)

// groups puts the disks into path groups by what the target says of its ports now (ALUA), best first. multipathd does the
// same when it adopts the map; until then no path that may be slow or shut is used before a better one. The kernel's own
// handler is not asked: it may not be there, and right after the scan it takes all paths for good ones.
func (a *Attacher) groups(disks []sysfs.Disk) [][]multipath.Devno {
	return byPriority(disks, a.priorities(a.life, disks))
}

// priorities asks all disks at once.
func (a *Attacher) priorities(ctx context.Context, disks []sysfs.Disk) map[multipath.Devno]int {
	values := make([]int, len(disks))
	var all sync.WaitGroup
	for i, d := range disks {
		all.Go(func() { values[i] = a.priority(ctx, d) })
	}
	all.Wait()
	priorities := map[multipath.Devno]int{}
	for i, d := range disks {
		priorities[devno(d)] = values[i]
	}
	return priorities
}

// priority of a path. The LUNs of our own target are alike everywhere, and its policy has one group.
func (a *Attacher) priority(ctx context.Context, d sysfs.Disk) int {
	if d.Vendor == multipath.Vendor && d.Model == multipath.Product {
		return alike
	}
	group, asymmetric, err := a.sys.PortGroup(d.Name)
	if err != nil {
		return unknown
	}
	if !asymmetric {
		return alike
	}
	ctx, cancel := context.WithTimeout(ctx, accessTime)
	defer cancel()
	access, err := scsi.PortGroup(ctx, scsi.Device{Path: a.cfg.Dev + "/" + d.Name, Major: d.Major, Minor: d.Minor}, group)
	if err != nil {
		return unknown
	}
	return access.Priority()
}

// asymmetric says that the target gives paths priorities of its own. multipathd goes by those, whatever the map's rules say: it looks
// for them first (detect_prio), and that is no map's to change.
func (a *Attacher) asymmetric(disks []sysfs.Disk) bool {
	return slices.ContainsFunc(disks, func(d sysfs.Disk) bool {
		if d.Vendor == multipath.Vendor && d.Model == multipath.Product {
			return false
		}
		_, asymmetric, err := a.sys.PortGroup(d.Name)
		return err == nil && asymmetric
	})
}

// byPriority makes a group of the disks of each priority.
func byPriority(disks []sysfs.Disk, priorities map[multipath.Devno]int) [][]multipath.Devno {
	byValue := map[int][]multipath.Devno{}
	for _, d := range disks {
		value := priorities[devno(d)]
		byValue[value] = append(byValue[value], devno(d))
	}
	var groups [][]multipath.Devno
	for _, value := range slices.Backward(slices.Sorted(maps.Keys(byValue))) {
		groups = append(groups, byValue[value])
	}
	return groups
}

// extend puts more disks into a live map's groups: each to the first one that has its like, else into the first one if
// nothing is known, else into one of its own at the end. multipathd knows better, when it has met the disk.
func extend(have [][]multipath.Devno, more []sysfs.Disk, priorities map[multipath.Devno]int) [][]multipath.Devno {
	if len(have) == 0 {
		return byPriority(more, priorities)
	}
	var all [][]multipath.Devno
	for _, g := range have {
		all = append(all, slices.Clone(g))
	}
	for _, d := range more {
		value := priorities[devno(d)]
		at := slices.IndexFunc(all, func(g []multipath.Devno) bool {
			return slices.ContainsFunc(g, func(p multipath.Devno) bool {
				had, known := priorities[p]
				return known && had == value
			})
		})
		switch {
		case at >= 0:
			all[at] = append(all[at], devno(d))
		case value == alike:
			all[0] = append(all[0], devno(d))
		default:
			all = append(all, []multipath.Devno{devno(d)})
		}
	}
	return all
}
