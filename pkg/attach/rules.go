package attach

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// configureTime bounds how long multipathd may take to read its configuration and change the maps that it concerns.
const configureTime = 30 * time.Second

// shape is how a volume's map is to be made.
type shape struct {
	rules multipath.Rules
	queue bool
}

// rulesOf are the rules that follow from a policy now: the hosts of the preferred interface are those of its sessions, which
// have new ones after each login.
func (a *Attacher) rulesOf(spec Spec) (multipath.Rules, error) {
	p := spec.Policy
	r := multipath.Rules{
		Selector: p.PathSelector, Grouping: p.PathGroupingPolicy, NoPathRetry: p.NoPathRetry, Prefer: p.PreferredInterface != "",
	}
	if !r.Prefer {
		return r, nil
	}
	sessions, err := a.sys.Sessions()
	if err != nil {
		return r, err
	}
	for _, s := range sessions {
		if name, ours := iscsi.InterfaceOf(s.Iface); ours && name == p.PreferredInterface && s.Target == spec.Target {
			r.Preferred = append(r.Preferred, s.Host)
		}
	}
	return r, nil
}

// govern has multipathd know the volume's rules before it meets, or keeps, the map. The caller holds the volume's lock.
func (a *Attacher) govern(ctx context.Context, id string, spec Spec) (shape, error) {
	r, err := a.rulesOf(spec)
	if err != nil {
		return shape{}, err
	}
	s := shape{rules: r, queue: r.Queues(a.cfg.Policy)}
	unread, err := a.putRules(id, r)
	if err == nil && unread {
		err = a.configure(ctx)
	}
	return s, err
}

// putRules says whether multipathd has to read its configuration anew. A call that did not live to see that done leaves it to
// the next one that has rules.
func (a *Attacher) putRules(id string, r multipath.Rules) (unread bool, err error) {
	a.ruling.Lock()
	defer a.ruling.Unlock()
	changed := false
	err = a.cfg.Files(func() (err error) {
		changed, err = a.rules.Put(id, r)
		return err
	})
	if changed {
		a.ruled++
	}
	return changed || (!r.None() && a.loaded < a.ruled), err
}

// configure has multipathd read its configuration, and waits until it has. Calls that come while one is underway share the
// next: it is the maps' owner's one lock, and it looks at every path.
func (a *Attacher) configure(ctx context.Context) error {
	a.ruling.Lock()
	mine := a.ruled
	a.ruling.Unlock()
	unlock, err := a.configuring.Lock(ctx, "")
	if err != nil {
		return err
	}
	defer unlock()
	done, read, gone, err := a.toRead(mine)
	if done || err != nil {
		return err
	}
	times := newLaps()
	ctx, cancel := context.WithTimeout(ctx, configureTime)
	defer cancel()
	if err := a.mpd.Reconfigure(ctx); err != nil {
		return err
	}
	for err = a.mpd.Ready(ctx); err != nil; err = a.mpd.Ready(ctx) {
		if !errors.Is(err, multipath.ErrBusy) || sleep(ctx, pollConfigure) != nil {
			return err
		}
	}
	times.lap("multipathd")
	times.log(ctx, 2, "Rules of maps")
	a.ruling.Lock()
	defer a.ruling.Unlock()
	a.loaded = read
	return a.cfg.Files(func() error { return a.rules.Forget(gone) })
}

const pollConfigure = 10 * time.Millisecond

// toRead says what multipathd is about to read: all changes so far, and the files that are empty; or that it has read change
// mine.
func (a *Attacher) toRead(mine int) (done bool, changes int, gone []string, err error) {
	a.ruling.Lock()
	defer a.ruling.Unlock()
	if a.loaded >= mine {
		return true, a.loaded, nil, nil
	}
	err = a.cfg.Files(func() (err error) {
		gone, err = a.rules.Dropped()
		return err
	})
	return false, a.ruled, gone, err
}

// dropRules takes the rules of a map that is gone away. multipathd forgets them when it is next told to read.
func (a *Attacher) dropRules(ctx context.Context, id string) {
	if id == "" {
		return
	}
	a.ruling.Lock()
	defer a.ruling.Unlock()
	err := a.cfg.Files(func() error {
		_, err := a.rules.Drop(id)
		return err
	})
	if err != nil {
		klog.FromContext(ctx).Error(err, "The path policy of a detached volume is left in multipathd's configuration", "map", id)
	}
}

// sweepRules drops the rules of maps that went without us: the node was booted anew. Whether multipathd has read those of the
// others is not known.
func (a *Attacher) sweepRules() error {
	a.ruling.Lock()
	defer a.ruling.Unlock()
	return a.cfg.Files(func() error {
		ids, err := a.rules.IDs()
		if len(ids) > 0 {
			a.ruled++
		}
		for _, id := range ids {
			if _, found := a.dm.Find(multipath.UUID(id)); errors.Is(found, multipath.ErrNotFound) {
				_, dropped := a.rules.Drop(id)
				err = errors.Join(err, dropped)
			}
		}
		return err
	})
}

// Govern has the map of an attached volume be as its policy says, while it is used: I/O goes on. It waits for other calls that work on
// the volume. latest gives the volume's spec; it is asked when nobody else governs the volume, so that the last word counts, and leaves
// the map alone with ErrNotFound. So is one that is not attached. The paths of a preferred interface are those of its sessions as they
// are now: who wants them followed calls again.
func (a *Attacher) Govern(ctx context.Context, wwid string, latest func() (Spec, error)) error {
	unlock, err := a.volumes.Lock(ctx, wwid)
	if err != nil {
		return &Error{Op: "govern", WWID: wwid, Err: err}
	}
	defer unlock()
	return a.governLocked(ctx, wwid, latest)
}

// TryGovern is Govern for who comes again: a volume that another call works on is left alone.
func (a *Attacher) TryGovern(ctx context.Context, wwid string, latest func() (Spec, error)) error {
	unlock, ok := a.volumes.TryLock(wwid)
	if !ok {
		return nil
	}
	defer unlock()
	return a.governLocked(ctx, wwid, latest)
}

func (a *Attacher) governLocked(ctx context.Context, wwid string, latest func() (Spec, error)) error {
	err := a.governAttached(ctx, wwid, latest)
	if err == nil || errors.Is(err, ErrNotFound) {
		return nil
	}
	return &Error{Op: "govern", WWID: wwid, Err: err}
}

func (a *Attacher) governAttached(ctx context.Context, wwid string, latest func() (Spec, error)) error {
	info, err := a.find(wwid)
	if err != nil {
		return err
	}
	spec, err := latest()
	if err != nil {
		return err
	}
	_, err = a.govern(ctx, strings.TrimPrefix(info.UUID, multipath.UUID("")), spec)
	a.timing.wish(wwid, spec)
	return errors.Join(err, a.keepTimers(ctx, spec.Target))
}

// keepGoverned follows sessions that were made after their volume was attached: their paths are preferred by the number of their SCSI host.
func (a *Attacher) keepGoverned(ctx context.Context, spec Spec) error {
	if spec.Policy.PreferredInterface == "" {
		return nil
	}
	return a.TryGovern(ctx, spec.WWID, func() (Spec, error) { return spec, nil })
}

// groupsOf puts the disks into path groups, best first, as multipathd will by the rules.
func (a *Attacher) groupsOf(s shape, disks []sysfs.Disk) [][]multipath.Devno {
	ordered := slices.Clone(disks)
	preferred := func(d sysfs.Disk) bool { return slices.Contains(s.rules.Preferred, d.HCTL.Host) }
	slices.SortStableFunc(ordered, func(x, y sysfs.Disk) int {
		switch {
		case preferred(x) == preferred(y):
			return 0
		case preferred(x):
			return -1
		}
		return 1
	})
	switch {
	case s.rules.EffectiveGrouping() == multipath.GroupFailover:
		var groups [][]multipath.Devno
		for _, n := range numbers(ordered) {
			groups = append(groups, []multipath.Devno{n})
		}
		return groups
	case s.rules.Prefer && !a.asymmetric(disks):
		at := slices.IndexFunc(ordered, func(d sysfs.Disk) bool { return !preferred(d) })
		if at > 0 {
			return [][]multipath.Devno{numbers(ordered[:at]), numbers(ordered[at:])}
		}
	}
	return a.groups(disks)
}
