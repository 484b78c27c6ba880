package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// probeDiskTime is how long after a scan a disk may take to appear: the unit is known at once, the block device is
// made in the background (sd_probe).
const probeDiskTime = 30 * time.Second

// purgePatience is how long a disk's former volume may be worked on. The other paths of this volume do just that; and
// two volumes that wait for each other's disks must not do so for ever.
const purgePatience = 5 * time.Second

// disk gives the session's disk of the LUN, as the target describes it now. It is looked for by number but accepted by
// WWID only: a number that served another volume before may still have that volume's disk (CVE-2023-2088). What the
// kernel remembered counts as much as what the target says now: a disk that was another volume's is not taken over,
// since that volume's map may be built on it, but removed and found anew.
func (a *Attacher) disk(ctx context.Context, s sysfs.Session, lun int, wwid string) (sysfs.Disk, error) {
	d, err := a.sys.SessionLUN(s.ID, lun)
	if errors.Is(err, sysfs.ErrGone) {
		d, err = a.scan(ctx, s, lun)
		return d, firstOf(err, a.identify(d, lun, wwid))
	}
	if err != nil {
		return sysfs.Disk{}, err
	}
	if err := a.heldRightly(d); err == nil && (wwid == "" || d.WWID == wwid) {
		if d, err = a.refresh(d); err != nil || wwid == "" || d.WWID == wwid {
			return d, err
		}
	}
	if err := a.purge(ctx, d, wwid); err != nil {
		return sysfs.Disk{}, err
	}
	d, err = a.scan(ctx, s, lun)
	return d, firstOf(err, a.identify(d, lun, wwid))
}

// identify refuses a disk of another volume.
func (a *Attacher) identify(d sysfs.Disk, lun int, wwid string) error {
	if wwid == "" || d.WWID == wwid {
		return nil
	}
	return fmt.Errorf("%w: LUN %d is %s, wanted is %s", ErrWWIDMismatch, lun, orNothing(d.WWID), wwid)
}

// firstOf gives the first error that is one.
func firstOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// heldRightly says whether nothing is built on the disk but the map of its own WWID.
func (a *Attacher) heldRightly(d sysfs.Disk) error {
	holders, err := a.sys.Holders(d.Name)
	if err != nil {
		return err
	}
	id, known := multipath.ID(d.WWID)
	for _, h := range holders {
		m, err := a.sys.Map(h)
		if errors.Is(err, sysfs.ErrGone) {
			continue
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(m.UUID, multipath.UUID("")) || (known && m.UUID != multipath.UUID(id)) {
			return fmt.Errorf("%w: %s has %s of map %s (%s)", ErrForeign, d.Name, orNothing(d.WWID), m.Name, m.UUID)
		}
	}
	return nil
}

func orNothing(wwid string) string {
	if wwid == "" {
		return "a unit without a WWID"
	}
	return wwid
}

// refresh makes the kernel ask the disk again who it is and how large: what sysfs says is from when it was found.
func (a *Attacher) refresh(d sysfs.Disk) (sysfs.Disk, error) {
	if err := a.sys.RescanDisk(d.Name); err != nil {
		return sysfs.Disk{}, err
	}
	return a.sys.Disk(d.Name)
}

// scan finds the LUN's disk on the session's host, when no name that it may get is somebody's still.
func (a *Attacher) scan(ctx context.Context, s sysfs.Session, lun int) (sysfs.Disk, error) {
	if err := a.loose.settle(ctx); err != nil {
		return sysfs.Disk{}, err
	}
	d, err := a.probe(ctx, s, lun)
	if err != nil {
		return d, err
	}
	return d, a.loose.settle(ctx) // another volume's disk may have left meanwhile
}

// probe has the kernel ask the target for the LUN, and waits for its disk.
func (a *Attacher) probe(ctx context.Context, s sysfs.Session, lun int) (sysfs.Disk, error) {
	if err := a.scanHost(ctx, s.Host, lun); err != nil {
		return sysfs.Disk{}, err
	}
	if !a.hasUnit(s.Host, lun) {
		return sysfs.Disk{}, fmt.Errorf("the target shows no LUN %d to this initiator: %w", lun, sysfs.ErrGone)
	}
	ctx, cancel := context.WithTimeout(ctx, probeDiskTime)
	defer cancel()
	var d sysfs.Disk
	err := a.changes.Until(ctx, func() (bool, error) {
		// Cheap first: a scan makes dozens of uevents, and each wakes everybody who waits for a disk.
		if !a.hasBlock(s.Host, lun) {
			return false, nil
		}
		var err error
		d, err = a.sys.SessionLUN(s.ID, lun)
		if errors.Is(err, sysfs.ErrGone) {
			return false, nil
		}
		// A capacity of 0 is of a disk that is being probed still.
		return err == nil && d.SizeBytes > 0, err
	})
	if err != nil {
		return sysfs.Disk{}, fmt.Errorf("wait for the disk of LUN %d: %w", lun, err)
	}
	return d, nil
}

// scanHost scans one LUN at a time on a host, as the kernel does: those who wait in it take a thread each.
func (a *Attacher) scanHost(ctx context.Context, host, lun int) error {
	unlock, err := a.scans.Lock(ctx, strconv.Itoa(host))
	if err != nil {
		return err
	}
	defer unlock()
	return a.sys.ScanLUN(host, lun)
}

// hasUnit says whether the kernel knows the logical unit; its disk may still be in the making.
func (a *Attacher) hasUnit(host, lun int) bool { return a.unitHas(host, lun, "") }

// hasBlock says whether the logical unit has a disk.
func (a *Attacher) hasBlock(host, lun int) bool { return a.unitHas(host, lun, "device/block") }

func (a *Attacher) unitHas(host, lun int, what string) bool {
	for _, n := range sysfs.KernelLUNs(lun) {
		address := sysfs.HCTL{Host: host, LUN: n}.String()
		if _, err := os.Stat(filepath.Join(string(a.sys), "class", "scsi_device", address, what)); err == nil {
			return true
		}
	}
	return false
}

// purge removes a stale disk that nothing uses. The map of its former volume goes with it when it is not open: it is a
// leftover, as its last disks on our sessions are.
func (a *Attacher) purge(ctx context.Context, d sysfs.Disk, wanted string) error {
	holders, err := a.sys.Holders(d.Name)
	if err != nil {
		return err
	}
	for _, h := range holders {
		if err := a.purgeHolder(ctx, d, h, wanted); err != nil {
			return err
		}
	}
	if claimed(filepath.Join(a.cfg.Dev, d.Name)) {
		return fmt.Errorf("%w: %s still serves %s and is in use", ErrWWIDMismatch, d.Name, orNothing(d.WWID))
	}
	return a.forget(ctx, []sysfs.Disk{d})
}

func (a *Attacher) purgeHolder(ctx context.Context, d sysfs.Disk, holder, wanted string) error {
	m, err := a.sys.Map(holder)
	if errors.Is(err, sysfs.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	id, isMultipath := strings.CutPrefix(m.UUID, multipath.UUID(""))
	wwid, known := multipath.WWID(id)
	if !isMultipath || !known {
		return fmt.Errorf("%w: %s is built on %s (%s)", ErrForeign, m.Name, d.Name, orNothing(d.WWID))
	}
	if wwid == wanted {
		return fmt.Errorf("%w: %s is in the map of %s, but the target has another unit there now", ErrWWIDMismatch, d.Name, wwid)
	}
	wait, cancel := context.WithTimeout(ctx, purgePatience)
	defer cancel()
	unlock, err := a.volumes.Lock(wait, wwid)
	if err != nil {
		return fmt.Errorf("%w: %s still serves %s, which a call works on", ErrWWIDMismatch, d.Name, wwid)
	}
	defer unlock()
	left, err := a.removeMap(ctx, m.UUID, 0)
	if errors.Is(err, ErrInUse) {
		return fmt.Errorf("%w: %s still serves %s, and %w", ErrWWIDMismatch, d.Name, wwid, err)
	}
	a.depart(&pins{}, left, &sync.WaitGroup{})
	return err
}

// claimed says whether a mount or another device has a block device for itself.
func claimed(node string) bool {
	f, err := os.OpenFile(node, os.O_RDONLY|exclusive, 0)
	if err != nil {
		return errors.Is(err, errBusy)
	}
	_ = f.Close()
	return false
}
