package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/pkg/udevd"
)

// For claimed.
const (
	exclusive = unix.O_EXCL
	errBusy   = unix.EBUSY
)

const (
	// askTime bounds how long multipathd may take to know a disk: until udev's rules have run for it.
	askTime = 30 * time.Second
	// joinTries bounds how often a path is put into a map that multipathd changes at the same time.
	joinTries = 5
)

func devno(d sysfs.Disk) multipath.Devno { return multipath.Devno{Major: d.Major, Minor: d.Minor} }

func numbers(disks []sysfs.Disk) []multipath.Devno {
	all := make([]multipath.Devno, len(disks))
	for i, d := range disks {
		all[i] = devno(d)
	}
	return all
}

// mapID gives multipathd's name for the disks' WWID: computed where that is certain, else asked from multipathd, which
// has it from udev.
func (a *Attacher) mapID(ctx context.Context, wwid string, disks []sysfs.Disk) (string, error) {
	if id, ok := multipath.ID(wwid); ok {
		return id, nil
	}
	if m, ok := a.mapAbove(disks); ok {
		return strings.TrimPrefix(m.UUID, multipath.UUID("")), nil
	}
	if len(disks) == 0 {
		return "", ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for {
		known, err := a.mpd.KnownPaths(ctx)
		if err != nil && !errors.Is(err, multipath.ErrBusy) {
			return "", err
		}
		i := slices.IndexFunc(known, func(k multipath.KnownPath) bool {
			return k.Disk == disks[0].Name && k.HCTL == disks[0].HCTL.String() && k.ID != ""
		})
		if i >= 0 {
			return known[i].ID, nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return "", fmt.Errorf("%w: multipathd does not say what it calls %s (%s): is it blacklisted in multipath.conf?",
				ErrNotReady, wwid, disks[0].Name)
		}
	}
}

// mapAbove finds the multipath map that is built on one of the disks.
func (a *Attacher) mapAbove(disks []sysfs.Disk) (sysfs.Map, bool) {
	for _, d := range disks {
		holders, err := a.sys.Holders(d.Name)
		if err != nil {
			continue
		}
		for _, h := range holders {
			if m, err := a.sys.Map(h); err == nil && strings.HasPrefix(m.UUID, multipath.UUID("")) {
				return m, true
			}
		}
	}
	return sysfs.Map{}, false
}

// assemble gives the map of id with all the disks in it: the one that is there, be it multipathd's, or a fresh one.
func (a *Attacher) assemble(
	ctx context.Context, id string, s shape, disks []sysfs.Disk,
) (info multipath.Info, fresh bool, err error) {
	uuid := multipath.UUID(id)
	for {
		info, err = a.dm.Settle(ctx, uuid)
		if err == nil {
			return info, false, errors.Join(a.fill(ctx, info, disks), a.keepAdopted(ctx, info))
		}
		if !errors.Is(err, multipath.ErrNotFound) {
			return info, false, err
		}
		info, err = a.create(id, s, disks) //nolint:contextcheck // the adoption goes on when the call has returned
		if !errors.Is(err, multipath.ErrExists) {
			return info, true, err
		}
		// multipathd was first; or a map of this name has another uuid, which no waiting mends.
		if _, err := a.dm.Find(uuid); errors.Is(err, multipath.ErrNotFound) {
			return info, false, fmt.Errorf("%w: a map named %s exists with another uuid", ErrForeign, id)
		}
	}
}

// create makes the map and has multipathd adopt it.
func (a *Attacher) create(id string, s shape, disks []sysfs.Disk) (multipath.Info, error) {
	t := multipath.Table{
		Sectors: uint64(disks[0].SizeBytes) / 512, //nolint:gosec // a size is positive
		Queue:   s.queue, Selector: s.rules.Selector, Groups: a.groupsOf(s, disks),
		// A write-protected LUN: the kernel refuses to open its disks for writing.
		ReadOnly: slices.ContainsFunc(disks, func(d sysfs.Disk) bool { return d.ReadOnly }),
	}
	info, hold, err := a.dm.Create(id, t, a.leavingMinors())
	if errors.Is(err, multipath.ErrOpen) {
		return info, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	if err == nil {
		a.adopt(info, hold)
	}
	return info, err
}

// fill puts the disks that a live map lacks into it. multipathd is asked first, since it watches the map; as long as
// udev has not handled the disk it refuses, and then the table is changed here: it finds the path there later.
func (a *Attacher) fill(ctx context.Context, info multipath.Info, disks []sysfs.Disk) error {
	for try := range joinTries {
		t, err := a.checkedTable(info, disks)
		if err != nil {
			return err
		}
		missing := outside(t, disks)
		if len(missing) == 0 {
			return nil
		}
		if try == 0 && a.askToAdd(ctx, info, missing) {
			continue
		}
		if err := a.reload(ctx, info, disks); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: map %s does not keep its paths", ErrTooFewPaths, info.Name)
}

// outside gives the disks that are not in the table.
func outside(t multipath.Table, disks []sysfs.Disk) []sysfs.Disk {
	return slices.DeleteFunc(slices.Clone(disks), func(d sysfs.Disk) bool { return t.Covers(numbers([]sysfs.Disk{d})) })
}

// reload adds the disks that the table lacks to it.
func (a *Attacher) reload(ctx context.Context, info multipath.Info, disks []sysfs.Disk) error {
	t, err := a.checkedTable(info, disks)
	if err != nil {
		return err
	}
	missing := outside(t, disks)
	if len(missing) == 0 {
		return nil
	}
	t.Groups = extend(t.Groups, missing, a.priorities(ctx, append(a.present(t), missing...)))
	return a.dm.Reload(info.UUID, t)
}

// present gives the disks of a table that are there.
func (a *Attacher) present(t multipath.Table) []sysfs.Disk {
	var all []sysfs.Disk
	for _, p := range t.Paths() {
		if d, err := a.diskByNumber(p); err == nil {
			all = append(all, d)
		}
	}
	return all
}

// askToAdd says whether multipathd took all of the disks. It puts a disk into the map that udev's database names, so it is not asked
// while that has nothing of the disk, or still what it had of a former one of this name.
func (a *Attacher) askToAdd(ctx context.Context, info multipath.Info, disks []sysfs.Disk) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	id := strings.TrimPrefix(info.UUID, multipath.UUID(""))
	for _, d := range disks {
		if a.serial(d) != id || a.mpd.AddPath(ctx, d.Name) != nil {
			return false
		}
	}
	return true
}

// serial is who the disk is by udev's database.
func (a *Attacher) serial(d sysfs.Disk) (serial string) {
	err := a.cfg.Files(func() error {
		serial = udevd.Property("/run/udev/data", d.Major, d.Minor, "ID_SERIAL")
		return nil
	})
	if err != nil {
		return ""
	}
	return serial
}

// checkedTable gives the map's table after a check of what is in it: only disks with the volume's WWID, and the
// volume's size. A disk that is gone from sysfs is a dead path, which multipathd drops.
func (a *Attacher) checkedTable(info multipath.Info, disks []sysfs.Disk) (multipath.Table, error) {
	t, err := a.dm.Table(info.UUID)
	if err != nil {
		return t, err
	}
	for _, p := range t.Paths() {
		d, err := a.diskByNumber(p)
		if errors.Is(err, sysfs.ErrGone) {
			continue
		}
		if err != nil {
			return t, err
		}
		if d.WWID != disks[0].WWID {
			return t, fmt.Errorf("%w: map %s has %s, which is %s", ErrWWIDMismatch, info.Name, d.Name, orNothing(d.WWID))
		}
	}
	return t, nil
}

// diskByNumber finds the disk of a device number.
func (a *Attacher) diskByNumber(n multipath.Devno) (sysfs.Disk, error) {
	to, err := os.Readlink(filepath.Join(string(a.sys), "dev", "block", n.String()))
	if errors.Is(err, os.ErrNotExist) {
		return sysfs.Disk{}, fmt.Errorf("device %s: %w", n, sysfs.ErrGone)
	}
	if err != nil {
		return sysfs.Disk{}, err
	}
	return a.sys.Disk(filepath.Base(to))
}

// join puts one verified disk into the map of its WWID; ErrNotFound when there is none.
func (a *Attacher) join(ctx context.Context, d sysfs.Disk) error {
	unlock, err := a.volumes.Lock(ctx, d.WWID)
	if err != nil {
		return err
	}
	defer unlock()
	id, err := a.mapID(ctx, d.WWID, []sysfs.Disk{d})
	if err != nil {
		return err
	}
	info, err := a.dm.Settle(ctx, multipath.UUID(id))
	if errors.Is(err, multipath.ErrNotFound) {
		// The volume was detached meanwhile, and its disk is nobody's.
		return errors.Join(ErrNotFound, a.forget(ctx, []sysfs.Disk{d}))
	}
	if err != nil {
		return err
	}
	if t, err := a.dm.Table(info.UUID); err == nil && t.Sectors != uint64(d.SizeBytes)/512 { //nolint:gosec // positive
		return fmt.Errorf("%w: %s has %d bytes, the map %d", ErrSizeMismatch, d.Name, d.SizeBytes, t.Sectors*512)
	}
	return a.fill(ctx, info, []sysfs.Disk{d})
}
