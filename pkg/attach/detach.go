package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// openPatience is how long a map may be held open by programs that have no claim on it: udev's rules read each
	// device that changed. In User-Mode Linux they take seconds.
	openPatience = 10 * time.Second
	// askToRemoveTime is what multipathd gets to remove a map.
	askToRemoveTime = 200 * time.Millisecond
	// removeTries bounds how often a map is removed that somebody makes anew.
	removeTries = 5
)

// Detach takes the volume's map apart and removes its disks from our sessions; the sessions stay for the grace time.
// Neither path nor LUN needs to work still. What is there is found by the WWID: a volume that is not attached, or half,
// is success in the end. ErrInUse, with who uses it, when the map is mounted or open. It does not log out.
func (a *Attacher) Detach(ctx context.Context, wwid string) error {
	if err := a.detach(ctx, wwid); err != nil {
		return &Error{Op: "detach", WWID: wwid, Err: err}
	}
	return nil
}

func (a *Attacher) detach(ctx context.Context, wwid string) error {
	if wwid == "" {
		return nil // Attach left nothing
	}
	unlock, err := a.volumes.Lock(ctx, wwid)
	if err != nil {
		return err
	}
	defer unlock()
	id, err := a.idForDetach(wwid)
	if err != nil {
		return err
	}
	for range removeTries {
		gone, err := a.takeDown(ctx, id, wwid)
		if err != nil || gone {
			return err
		}
	}
	return fmt.Errorf("%w: something makes map %s anew", ErrForeign, id)
}

// idForDetach finds the map's name without multipathd; empty when there is no map, or it cannot be told.
func (a *Attacher) idForDetach(wwid string) (string, error) {
	if id, ok := multipath.ID(wwid); ok {
		return id, nil
	}
	all, err := a.sys.DisksByWWID(wwid)
	if err != nil {
		return "", err
	}
	m, _ := a.mapAbove(all)
	return strings.TrimPrefix(m.UUID, multipath.UUID("")), nil
}

// takeDown removes the map, then the disks; gone says that no map came back meanwhile. The map goes first and at once:
// udev notices that it was closed after writing (an unmount, say) and would begin to look at it.
func (a *Attacher) takeDown(ctx context.Context, id, wwid string) (gone bool, err error) {
	times := newLaps()
	left, err := a.removeListed(ctx, id)
	if err != nil {
		return false, err
	}
	times.lap("map")
	disks, err := a.ourDisks(wwid)
	if err != nil {
		a.depart(&pins{}, left, &sync.WaitGroup{})
		return false, err
	}
	if err := a.forgetPinned(ctx, a.pin(disks), left); err != nil {
		return false, err
	}
	times.lap("disks")
	times.log(ctx, 2, "Detach", "map", id, "disks", len(disks))
	_, err = a.dm.Find(multipath.UUID(id))
	if errors.Is(err, multipath.ErrNotFound) {
		a.dropRules(ctx, id)
		if target := a.timing.forget(wwid); target != "" {
			a.tryTimers(ctx, target)
		}
		return true, nil
	}
	return false, err
}

// removeListed takes the volume off multipathd's list and removes the map. In that order: multipathd may look at a disk
// between the map's end and the disk's, and would make a new map. A map that stays must stay on the list, or a
// multipathd that starts anew gives it up. Without a map nothing leaves.
func (a *Attacher) removeListed(ctx context.Context, id string) (left *departure, err error) {
	if id == "" {
		return left, nil
	}
	if err := a.cfg.Files(func() error { return a.cfg.WWIDs.Drop(ctx, id) }); err != nil {
		return nil, err
	}
	left, err = a.removeMap(ctx, multipath.UUID(id), openPatience)
	if err == nil {
		return left, nil
	}
	again := context.WithoutCancel(ctx)
	return nil, errors.Join(err, a.cfg.Files(func() error { return a.cfg.WWIDs.Add(again, id) }))
}

// removeMap removes a map that nobody uses: I/O that waits in it for a path fails first, so that nothing hangs. patience
// is how long programs may hold it open that have no claim on it. depart ends what is left, which is nil without a map.
func (a *Attacher) removeMap(ctx context.Context, uuid string, patience time.Duration) (left *departure, err error) {
	info, err := a.dm.Find(uuid)
	if errors.Is(err, multipath.ErrNotFound) {
		return left, nil
	}
	if err != nil {
		return nil, err
	}
	if used, err := a.dm.Claimed(info); err != nil || used {
		return nil, errors.Join(err, a.inUse(info))
	}
	left = a.leave(info)
	if err := a.removeUnclaimed(ctx, info, patience); err != nil {
		a.gone(left)
		return nil, err
	}
	return left, nil
}

func (a *Attacher) removeUnclaimed(ctx context.Context, info multipath.Info, patience time.Duration) error {
	a.release(info.UUID)
	if err := a.failIO(ctx, info); err != nil {
		return err
	}
	a.askToRemove(ctx, info)
	err := a.dm.RemoveUnused(ctx, info.UUID, patience)
	if errors.Is(err, multipath.ErrOpen) {
		return a.inUse(info)
	}
	if err != nil {
		return err
	}
	return a.dm.DropLink(info)
}

// askToRemove lets multipathd remove the map, which then need not find out by itself. It is not waited for when it is
// busy: it holds its one lock for as long as udev, or a path, takes, and answers "timeout" after 4 s.
func (a *Attacher) askToRemove(ctx context.Context, info multipath.Info) {
	ctx, cancel := context.WithTimeout(ctx, askToRemoveTime)
	defer cancel()
	if err := a.mpd.DelMap(ctx, info.Name); err != nil {
		klog.FromContext(ctx).V(4).Info("multipathd did not remove a map", "map", info.Name, "reason", err.Error())
	}
}

// FailIO makes I/O that waits for a path of the volume's map fail from now on, when no path works: an unmount would
// wait with it, without an end. With a working path, or without a map, it does nothing. What an application wrote and
// did not sync is lost then; it is for a volume that must go away.
func (a *Attacher) FailIO(ctx context.Context, wwid string) error {
	id, err := a.idForDetach(wwid)
	if err != nil || id == "" {
		return err
	}
	info, err := a.dm.Find(multipath.UUID(id))
	if errors.Is(err, multipath.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = a.failIO(ctx, info)
	}
	if err != nil {
		return &Error{Op: "fail waiting I/O of", WWID: wwid, Err: err}
	}
	return nil
}

// failIO tells multipathd, too, when no path works: it would turn the waiting on again with the next path that changes.
func (a *Attacher) failIO(ctx context.Context, info multipath.Info) error {
	states, err := a.dm.PathStates(info.UUID)
	if errors.Is(err, multipath.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range states {
		if s.Active {
			return nil
		}
	}
	if err := a.dm.FailIO(info.UUID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := a.mpd.DisableQueueing(ctx, info.Name); err != nil {
		klog.FromContext(ctx).V(2).Info("multipathd was not told", "map", info.Name, "reason", err.Error())
	}
	return nil
}

// inUse says who uses the map.
func (a *Attacher) inUse(info multipath.Info) error {
	var who []string
	holders, err := a.sys.Holders(fmt.Sprintf("dm-%d", info.Devno.Minor))
	if err == nil {
		for _, h := range holders {
			if m, err := a.sys.Map(h); err == nil {
				h = m.Name
			}
			who = append(who, "device "+h)
		}
	}
	who = append(who, users(info.Devno)...)
	if len(who) == 0 {
		who = []string{"an unknown user, perhaps a mount in another namespace"}
	}
	return fmt.Errorf("%w: map %s by %s", ErrInUse, info.Name, strings.Join(who, ", "))
}

// ourDisks gives the volume's disks on our sessions. Those of other sessions are not ours to remove.
func (a *Attacher) ourDisks(wwid string) ([]sysfs.Disk, error) {
	all, err := a.sys.DisksByWWID(wwid)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(d sysfs.Disk) bool { return !a.ours(d) }), nil
}

// ours says whether the disk belongs to a session of ours. It reads that session's one attribute, not all of the node:
// block/sdb leads to ../devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sdb.
func (a *Attacher) ours(d sysfs.Disk) bool {
	block, err := os.Readlink(filepath.Join(string(a.sys), "block", d.Name))
	if err != nil {
		return false
	}
	session := ""
	for part := range strings.SplitSeq(block, "/") {
		if strings.HasPrefix(part, "session") {
			session = part
		}
	}
	name, err := os.ReadFile(filepath.Join(string(a.sys), "class", "iscsi_session", session, "ifacename"))
	if session == "" || err != nil {
		return false
	}
	_, ok := iscsi.InterfaceOf(strings.TrimSpace(string(name)))
	return ok
}

// ourHosts gives our sessions by SCSI host.
func (a *Attacher) ourHosts() (map[int]sysfs.Session, error) {
	sessions, err := a.sys.Sessions()
	if err != nil {
		return nil, err
	}
	hosts := map[int]sysfs.Session{}
	for _, s := range sessions {
		if _, ok := iscsi.InterfaceOf(s.Iface); ok {
			hosts[s.Host] = s
		}
	}
	return hosts, nil
}

// forget removes disks with no map above them.
func (a *Attacher) forget(ctx context.Context, disks []sysfs.Disk) error {
	return a.forgetPinned(ctx, a.pin(disks), nil)
}

// forgetPinned removes the disks at once, each as fast as its path allows, and keeps their names taken until udevd and
// multipathd have seen it (pins.go).
func (a *Attacher) forgetPinned(ctx context.Context, pins *pins, left *departure) error {
	removed := make(chan error, len(pins.there))
	var all sync.WaitGroup
	all.Add(len(pins.there))
	a.depart(pins, left, &all)
	for _, p := range pins.there {
		go func() {
			defer all.Done()
			removed <- a.deleteDisk(p)
		}()
	}
	var errs []error
	for range pins.there {
		select {
		case err := <-removed:
			errs = append(errs, err)
		case <-ctx.Done():
			return errors.Join(append(errs, ctx.Err())...)
		}
	}
	return errors.Join(errs...)
}

// deleteDisk removes one disk. The kernel flushes its write cache first, which on a path that is down takes as long as
// the session's recovery timeout; the map above is gone, so such a disk has nothing left to flush and is set offline.
func (a *Attacher) deleteDisk(p pinned) error {
	if !p.held {
		// The name may be another disk's by now.
		there, down := a.condition(p.disk)
		if !there {
			return nil
		}
		p.down = down
	}
	if p.down {
		// Refused in some states, and then not needed.
		_ = os.WriteFile(filepath.Join(string(a.sys), "block", p.disk.Name, "device", "state"), []byte("offline"), 0)
	}
	return a.sys.DeleteDisk(p.disk.Name)
}

// condition says whether a disk is there still under its name, and whether its path is down.
func (a *Attacher) condition(d sysfs.Disk) (there, down bool) {
	device := filepath.Join(string(a.sys), "block", d.Name, "device")
	to, err := os.Readlink(device)
	if err != nil || filepath.Base(to) != d.HCTL.String() {
		return false, false
	}
	state, err := os.ReadFile(filepath.Join(device, "state"))
	return true, err == nil && strings.TrimSpace(string(state)) != "running"
}
