package multipath

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// pollEvery is for states of the kernel that no event announces.
	pollEvery = 10 * time.Millisecond
	// halfMade is how long somebody else's map may be without a table before it counts as left behind: libdevmapper
	// creates, loads and resumes without a pause.
	halfMade = time.Second
	// maxMinors bounds the search for a free number; a host has some hundred maps.
	maxMinors = 1 << 14
)

// Create makes the map of id over t's paths and returns it usable and held open: release the hold when multipathd has
// adopted it, not before (see the package's comment). ErrExists when there is one; take it with Find then. When a
// path is used by something else, ErrOpen. The map gets none of the minor numbers to avoid.
func (d *DM) Create(id string, t Table, avoid []uint32) (Info, *Hold, error) {
	uuid := UUID(id)
	devno, err := d.createBeside(id, uuid, avoid)
	if err != nil {
		return Info{}, nil, err
	}
	info := Info{Name: id, UUID: uuid, Devno: devno}
	hold, err := d.start(info, t)
	if err != nil {
		// Ours and never usable; whatever hinders its removal, the next attach finds it without a table.
		return Info{}, nil, errors.Join(err, ignoreGone(d.Remove(uuid)))
	}
	if info, err = d.Find(uuid); err == nil && info.Devno != devno {
		err = &Error{Op: "create", On: id, Err: ErrNotFound}
	}
	if err != nil {
		hold.Release()
		return Info{}, nil, err
	}
	return info, hold, nil
}

// createBeside makes a map without a table under the lowest free number that is not to be avoided.
func (d *DM) createBeside(name, uuid string, avoid []uint32) (Devno, error) {
	if len(avoid) == 0 {
		return d.create(name, uuid)
	}
	for minor := range uint32(maxMinors) {
		if slices.Contains(avoid, minor) {
			continue
		}
		devno, err := d.createAt(name, uuid, minor)
		if !errors.Is(err, ErrNotFound) { // ENXIO: the number is taken (dm_create, drivers/md/dm.c)
			return devno, err
		}
	}
	return Devno{}, &Error{Op: "create", On: name, Err: errors.New("no number is free")}
}

// start opens the map between load and resume: the node is there from the first load on (since Linux 5.15, before
// that from the create on), and libmultipath takes a map without a live table for none of its own.
func (d *DM) start(info Info, t Table) (*Hold, error) {
	if err := d.load(info.UUID, t); err != nil {
		return nil, err
	}
	hold, err := d.hold(info)
	if err != nil {
		return nil, err
	}
	if err := d.resume(info.UUID, udevNoKpartx); err != nil {
		hold.Release()
		return nil, err
	}
	return hold, nil
}

// Reload gives a live map another table without interrupting its I/O.
func (d *DM) Reload(uuid string, t Table) error {
	if err := d.load(uuid, t); err != nil {
		return err
	}
	return d.resume(uuid, udevReload|udevNoKpartx)
}

func ignoreGone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Settle returns the map once it is usable: when its creator is between create and the first table, it waits for the
// table. A map that stays without one was left behind: it is removed, and the answer is ErrNotFound.
func (d *DM) Settle(ctx context.Context, uuid string) (Info, error) {
	deadline := time.Now().Add(halfMade)
	for {
		info, err := d.Find(uuid)
		if err != nil || (info.Live && !info.Suspended) {
			return info, err
		}
		if !info.Live && time.Now().After(deadline) {
			return Info{}, errors.Join(&Error{Op: "find", On: uuid, Err: ErrNotFound}, ignoreGone(d.Remove(uuid)))
		}
		if err := pause(ctx); err != nil {
			return Info{}, &Error{Op: "wait for the table of", On: uuid, Err: err}
		}
	}
}

// RemoveUnused removes the map. It waits, while ctx lasts and at most patience, for programs that merely have it open,
// such as udev's probes; for one that a mount or another map has claimed it does not wait. ErrOpen then. A map that is
// not there is no error.
func (d *DM) RemoveUnused(ctx context.Context, uuid string, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := d.Remove(uuid)
		if !errors.Is(err, ErrOpen) {
			return ignoreGone(err)
		}
		info, findErr := d.Find(uuid)
		if findErr != nil {
			return ignoreGone(findErr)
		}
		if claimed, _ := d.Claimed(info); claimed || time.Now().After(deadline) {
			return err
		}
		if pause(ctx) != nil {
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		}
	}
}

func pause(ctx context.Context) error {
	t := time.NewTimer(pollEvery)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// FailIO makes I/O of a map without usable paths fail instead of wait. multipathd may turn waiting on again when a path
// changes; Client.DisableQueueing makes it last.
func (d *DM) FailIO(uuid string) error {
	t, err := d.Table(uuid)
	if err != nil || !t.Queue {
		return err
	}
	return d.Message(uuid, "fail_if_no_path")
}

// Covers says whether the table has all of these paths.
func (t Table) Covers(paths []Devno) bool {
	have := t.Paths()
	return !slices.ContainsFunc(paths, func(p Devno) bool { return !slices.Contains(have, p) })
}
