package attach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Resize makes the map as large as the target says that the volume is, once every path of it has been told so:
// ErrSizeMismatch while one reports another size, such as a path that is down and cannot be asked. No map is ever
// larger than one of its paths. Done already is success. ErrNotFound when there is no map.
func (a *Attacher) Resize(ctx context.Context, wwid string) (Device, error) {
	dev, err := a.resize(ctx, wwid)
	if err != nil {
		return Device{}, &Error{Op: "resize", WWID: wwid, Err: err}
	}
	return dev, nil
}

func (a *Attacher) resize(ctx context.Context, wwid string) (Device, error) {
	unlock, err := a.volumes.Lock(ctx, wwid)
	if err != nil {
		return Device{}, err
	}
	defer unlock()
	info, err := a.find(wwid)
	if err != nil {
		return Device{}, err
	}
	size, err := a.commonSize(ctx, info, wwid)
	if err != nil {
		return Device{}, err
	}
	if err := a.resizeMap(ctx, info, uint64(size)/512); err != nil { //nolint:gosec // a size is positive
		return Device{}, err
	}
	return a.describe(info, wwid)
}

// commonSize asks every disk of the map, and every other of the volume on our sessions, for its size.
func (a *Attacher) commonSize(ctx context.Context, info multipath.Info, wwid string) (int64, error) {
	disks, err := a.resizable(info, wwid)
	if err != nil {
		return 0, err
	}
	if err := a.rescan(ctx, disks); err != nil {
		return 0, err
	}
	var size int64
	for i, d := range disks {
		now, err := a.sys.Disk(d.Name)
		if err != nil {
			return 0, err
		}
		if now.WWID != wwid {
			return 0, fmt.Errorf("%w: %s is %s", ErrWWIDMismatch, d.Name, orNothing(now.WWID))
		}
		if i > 0 && now.SizeBytes != size {
			return 0, fmt.Errorf("%w: %s has %d bytes, %s has %d; all paths must be there to resize", ErrSizeMismatch,
				disks[0].Name, size, d.Name, now.SizeBytes)
		}
		size = now.SizeBytes
	}
	return size, nil
}

// resizable gives the disks that must agree. One that is down cannot be asked, and counts as one that disagrees.
func (a *Attacher) resizable(info multipath.Info, wwid string) ([]sysfs.Disk, error) {
	t, err := a.dm.Table(info.UUID)
	if err != nil {
		return nil, err
	}
	disks, err := a.ourDisks(wwid)
	if err != nil {
		return nil, err
	}
	for _, p := range t.Paths() {
		d, err := a.diskByNumber(p)
		if err != nil {
			return nil, fmt.Errorf("%w: a path of the map is gone: %w", ErrSizeMismatch, err)
		}
		if !slices.ContainsFunc(disks, func(x sysfs.Disk) bool { return x.Name == d.Name }) {
			disks = append(disks, d)
		}
	}
	for _, d := range disks {
		if d.State != "running" {
			return nil, fmt.Errorf("%w: %s is %s and cannot be asked for its size", ErrSizeMismatch, d.Name, d.State)
		}
	}
	if len(disks) == 0 {
		return nil, fmt.Errorf("%w: the map has no paths", ErrTooFewPaths)
	}
	return disks, nil
}

// rescan has the kernel read the disks' capacities, all at once.
func (a *Attacher) rescan(ctx context.Context, disks []sysfs.Disk) error {
	results := make(chan error, len(disks))
	var all sync.WaitGroup
	for _, d := range disks {
		all.Go(func() { results <- a.sys.RescanDisk(d.Name) })
	}
	for range disks {
		select {
		case err := <-results:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("read capacities: %w", ctx.Err())
		}
	}
	return nil
}

// resizeMap has multipathd resize the map, which must know its size; what it cannot do, because it does not have the
// map yet, is done here, and it will find the size so.
func (a *Attacher) resizeMap(ctx context.Context, info multipath.Info, sectors uint64) error {
	t, err := a.dm.Table(info.UUID)
	if err != nil || t.Sectors == sectors {
		return err
	}
	if sectors < t.Sectors {
		return fmt.Errorf("%w: the volume has shrunk from %d to %d bytes", ErrSizeMismatch, t.Sectors*512, sectors*512)
	}
	ask, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	askErr := a.mpd.Resize(ask, info.Name)
	if t, err = a.dm.Table(info.UUID); err != nil || t.Sectors == sectors {
		return err
	}
	t.Sectors = sectors
	if err := a.dm.Reload(info.UUID, t); err != nil {
		return errors.Join(err, askErr)
	}
	return nil
}
