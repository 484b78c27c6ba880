package attach

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// lacking gives the pairs that have no path in the map, by sysfs alone: most of the time there are none.
func (a *Attacher) lacking(spec Spec, pairs []binding.Pair) ([]binding.Pair, error) {
	info, err := a.find(spec.WWID)
	if err != nil {
		return nil, err
	}
	t, err := a.dm.Table(info.UUID)
	if errors.Is(err, multipath.ErrNotFound) {
		return nil, ErrNotFound // a moment ago it was there
	}
	if err != nil {
		return nil, err
	}
	sessions, err := a.sys.Sessions()
	if err != nil {
		return nil, err
	}
	var lack []binding.Pair
	for _, p := range pairs {
		s, ok := findSession(sessions, nodeID(spec.Target, p))
		if ok {
			d, err := a.sys.SessionLUN(s.ID, spec.LUN)
			ok = err == nil && d.WWID == spec.WWID && t.Covers(numbers([]sysfs.Disk{d}))
		}
		if !ok {
			lack = append(lack, p)
		}
	}
	return lack, nil
}

// healPairs brings pairs to the map, all at once. A portal that does not answer, or a session that open-iscsi is
// reconnecting, is no error.
func (a *Attacher) healPairs(ctx context.Context, spec Spec, pairs []binding.Pair) []error {
	var (
		all      sync.WaitGroup
		mu, turn sync.Mutex
		errs     []error
	)
	for _, p := range pairs {
		all.Go(func() {
			err := a.healPair(ctx, spec, p, &turn)
			if err == nil || isNoNews(err) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, &PairError{Pair: p, Err: err})
		})
	}
	all.Wait()
	return errs
}

// isNoNews says that there is nothing to tell: the portal is silent, the session is being made anew, or the volume was
// detached meanwhile.
func isNoNews(err error) bool {
	return slices.ContainsFunc([]error{iscsi.ErrTimeout, iscsi.ErrUnreachable, errDown, multipath.ErrDeadPath, ErrNotFound},
		func(known error) bool { return errors.Is(err, known) })
}

// healPair brings one pair's session up, and then its disk to the map; one pair at a time, since the volume's lock, which
// is not waited for, is the same for all of them.
func (a *Attacher) healPair(ctx context.Context, spec Spec, p binding.Pair, turn *sync.Mutex) error {
	have, err := a.sys.Sessions()
	if err != nil {
		return err
	}
	s, err := a.session(ctx, dial{spec: spec, pair: p, heal: true, have: have})
	if err != nil {
		return err
	}
	turn.Lock()
	defer turn.Unlock()
	unlock, ok := a.volumes.TryLock(spec.WWID)
	if !ok {
		return nil // an attach or detach works on it; the next heal looks again
	}
	d, err := a.healDisk(ctx, s, spec)
	unlock()
	if err == nil {
		err = a.join(ctx, d)
	}
	if err == nil && a.cfg.Healed != nil {
		a.cfg.Healed(p)
	}
	return err
}

// healDisk looks for the disk while the volume is attached still: a disk found after its detach would stay.
func (a *Attacher) healDisk(ctx context.Context, s sysfs.Session, spec Spec) (sysfs.Disk, error) {
	if _, err := a.find(spec.WWID); err != nil {
		return sysfs.Disk{}, err
	}
	return a.disk(ctx, s, spec.LUN, spec.WWID)
}
