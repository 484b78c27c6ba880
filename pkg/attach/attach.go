package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Attach makes one device of the volume's paths. When it returns, all paths that could be reached are in the map, at
// least MinPaths, each with the volume's WWID and the same size. What cannot be reached now is added by Heal. Attaching
// again gives the device that is there, with what it lacked. multipathd adopts the map within moments.
//
// Errors are ErrNotReady, ErrInvalid, ErrAuth, ErrTooFewPaths (a *PathsError), ErrWWIDMismatch, ErrSizeMismatch,
// ErrForeign, or the context's. A failed Attach leaves sessions and disks for the next one, or for Detach; but of a
// volume whose WWID is not known it leaves no disks.
func (a *Attacher) Attach(ctx context.Context, spec Spec) (Device, error) {
	dev, err := a.attach(ctx, spec)
	if err != nil {
		return Device{}, &Error{Op: "attach", WWID: spec.WWID, Err: err}
	}
	return dev, nil
}

func (a *Attacher) attach(ctx context.Context, spec Spec) (Device, error) {
	spec.MinPaths = max(1, spec.MinPaths)
	times := newLaps()
	if err := a.Ready(ctx); err != nil {
		return Device{}, err
	}
	pairs, err := a.matrix(spec)
	if err != nil {
		return Device{}, err
	}
	release, err := a.targets.Share(ctx, spec.Target)
	if err != nil {
		return Device{}, err
	}
	defer release()
	unlock, err := a.volumes.Lock(ctx, cmp.Or(spec.WWID, spec.Target+" "+strconv.Itoa(spec.LUN)))
	if err != nil {
		return Device{}, err
	}
	defer unlock()
	times.lap("ready")
	if err := a.announce(ctx, spec.WWID); err != nil {
		return Device{}, err
	}
	times.lap("announce")
	a.timing.wish(spec.WWID, spec)
	paths, failed, err := a.gather(ctx, spec, pairs)
	if err != nil {
		return Device{}, err
	}
	times.lap("paths")
	dev, lost, err := a.buildLiving(ctx, spec, paths, failed)
	dev.Lacks = len(pairs) - len(paths) + len(lost)
	times.lap("map")
	times.log(ctx, 2, "Attach", "wwid", dev.WWID, "paths", len(paths), "missing", reasons(slices.Concat(failed, lost)))
	if err != nil && spec.WWID == "" {
		err = errors.Join(err, a.forgetUnused(context.WithoutCancel(ctx), paths))
	}
	return dev, err
}

// buildLiving is build with the paths that can be opened still. A session that was lost since its disk was found must not keep the
// volume from the others; healing adds its path when it is back.
func (a *Attacher) buildLiving(
	ctx context.Context, spec Spec, paths []path, failed []*PairError,
) (dev Device, lost []*PairError, err error) {
	for range joinTries {
		dev, err = a.build(ctx, spec, paths, slices.Concat(failed, lost))
		if !errors.Is(err, multipath.ErrDeadPath) {
			return dev, lost, err
		}
		alive, gone := living(a.sys, paths)
		paths, lost = alive, append(lost, gone...)
	}
	return Device{}, lost, fmt.Errorf("%w: %w", ErrTooFewPaths, err)
}

// living gives the paths that take I/O, and says what became of the others.
func living(sys sysfs.FS, paths []path) (alive []path, lost []*PairError) {
	for _, p := range paths {
		d, err := sys.Disk(p.disk.Name)
		switch {
		case err != nil:
		case d.HCTL != p.disk.HCTL || d.WWID != p.disk.WWID:
			err = sysfs.ErrGone
		case d.State != sysfs.DiskRunning:
			err = fmt.Errorf("%s is %s: %w", d.Name, d.State, errDown)
		}
		if err != nil {
			lost = append(lost, &PairError{Pair: p.pair, Err: err})
			continue
		}
		alive = append(alive, p)
	}
	return alive, lost
}

// reasons is for the log.
func reasons(failed []*PairError) []string {
	all := make([]string, len(failed))
	for i, f := range failed {
		all[i] = f.Error()
	}
	return all
}

// announce prepares the node for a volume whose WWID is known: what is left of its last time here has gone, and its
// disks will be taken for multipath ones from their first uevent on, so that nothing else takes them.
func (a *Attacher) announce(ctx context.Context, wwid string) error {
	id, ok := multipath.ID(wwid)
	if !ok {
		return nil
	}
	if err := a.left(ctx, multipath.UUID(id)); err != nil {
		return err
	}
	return a.cfg.Files(func() error { return a.cfg.WWIDs.Add(ctx, id) })
}

// build makes the map of the paths, or takes the one that is there, and describes it.
func (a *Attacher) build(ctx context.Context, spec Spec, paths []path, failed []*PairError) (Device, error) {
	if len(paths) < spec.MinPaths {
		return Device{}, tooFew(len(paths), spec.MinPaths, failed)
	}
	disks := make([]sysfs.Disk, len(paths))
	for i, p := range paths {
		disks[i] = p.disk
	}
	slices.SortFunc(disks, func(x, y sysfs.Disk) int { return cmp.Compare(x.HCTL.Host, y.HCTL.Host) })
	if err := a.agree(disks); err != nil {
		return Device{}, err
	}
	id, err := a.mapID(ctx, disks[0].WWID, disks)
	if err != nil {
		return Device{}, err
	}
	if spec.WWID == "" {
		unlock, err := a.volumes.Lock(ctx, disks[0].WWID)
		if err != nil {
			return Device{}, err
		}
		defer unlock()
		if err := a.announce(ctx, disks[0].WWID); err != nil {
			return Device{}, err
		}
	}
	s, err := a.govern(ctx, id, spec)
	if err != nil {
		return Device{}, err
	}
	if s.rules.Prefer && a.asymmetric(disks) {
		klog.FromContext(ctx).Info("The preferred interface has no effect: multipathd goes by what the array says of its ports (ALUA)",
			"map", id, "interface", spec.Policy.PreferredInterface)
	}
	a.timing.wish(disks[0].WWID, spec)
	a.tryTimers(ctx, spec.Target)
	info, fresh, err := a.assemble(ctx, id, s, disks)
	if err != nil {
		return Device{}, err
	}
	if err := a.dm.EnsureLink(info); err != nil {
		return Device{}, err
	}
	return a.finished(spec, info, fresh, paths, failed)
}

// finished describes the map, and refuses it when too few of its paths work after all. Of a fresh one everything is
// known already but the state of its paths.
func (a *Attacher) finished(
	spec Spec, info multipath.Info, fresh bool, paths []path, failed []*PairError,
) (Device, error) {
	states, err := a.dm.PathStates(info.UUID)
	if err != nil {
		return Device{}, err
	}
	dev := Device{
		WWID: paths[0].disk.WWID, Path: a.dm.Path(info.Name), Major: info.Devno.Major, Minor: info.Devno.Minor,
		SizeBytes: paths[0].disk.SizeBytes,
	}
	if !fresh {
		if dev, err = a.describe(info, dev.WWID); err != nil {
			return Device{}, err
		}
	} else {
		for _, p := range paths {
			dev.Paths = append(dev.Paths, describePath(p.disk, p.session, stateOf(states, devno(p.disk))))
		}
		sortPaths(dev.Paths)
	}
	active := 0
	for _, p := range dev.Paths {
		if p.State == StateActive && p.Interface != "" {
			active++
		}
	}
	if active < spec.MinPaths {
		return Device{}, tooFew(active, spec.MinPaths, failed)
	}
	return dev, nil
}

// tooFew is ErrTooFewPaths; a CHAP failure or a wrong unit among the causes says more, and errors.Is finds it.
func tooFew(have, want int, failed []*PairError) error {
	return &PathsError{Have: have, Want: want, Pairs: failed}
}

// agree checks that the disks are one unit of one size. One that reports another size may not have been asked since
// the volume grew.
func (a *Attacher) agree(disks []sysfs.Disk) error {
	for i, d := range disks {
		if d.WWID == "" || d.WWID != disks[0].WWID {
			return fmt.Errorf("%w: %s is %s, %s is %s", ErrWWIDMismatch, disks[0].Name, orNothing(disks[0].WWID), d.Name, orNothing(d.WWID))
		}
		if d.SizeBytes == disks[0].SizeBytes {
			continue
		}
		fresh, err := a.refresh(d)
		if err != nil {
			return err
		}
		if disks[0], err = a.refresh(disks[0]); err != nil {
			return err
		}
		if disks[i] = fresh; fresh.SizeBytes != disks[0].SizeBytes {
			return fmt.Errorf("%w: %s has %d bytes, %s has %d", ErrSizeMismatch,
				disks[0].Name, disks[0].SizeBytes, d.Name, fresh.SizeBytes)
		}
	}
	return nil
}

// forgetUnused removes the disks of an attach that failed, where nothing was built on them.
func (a *Attacher) forgetUnused(ctx context.Context, paths []path) error {
	var unused []sysfs.Disk
	for _, p := range paths {
		if holders, err := a.sys.Holders(p.disk.Name); err == nil && len(holders) == 0 {
			unused = append(unused, p.disk)
		}
	}
	return a.forget(ctx, unused)
}
