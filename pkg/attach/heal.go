package attach

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/portbind/portbind/pkg/multipath"
)

// healWidth is how many volumes are healed at once.
const healWidth = 8

// Heal adds what attached volumes lack: sessions of their matrix, disks, paths in the map, and the map to multipathd.
// It takes nothing away, which Vacate does, and leaves alone what another call works on and what is not attached. Specs need
// no CHAP: the records that Attach wrote have it. The errors of all volumes are joined; a portal that is still silent
// is none, but lacks counts the paths that are not there yet.
func (a *Attacher) Heal(ctx context.Context, specs []Spec) (lacks int, err error) {
	a.forgetAwaited()
	var all atomic.Int64
	errs := inParallel(specs, func(spec Spec) error {
		lacks, err := a.heal(ctx, spec)
		all.Add(int64(lacks))
		if err != nil {
			return &Error{Op: "heal", WWID: spec.WWID, Err: err}
		}
		return nil
	})
	return int(all.Load()), errors.Join(errs...)
}

// inParallel does it for several at once, and gives the errors.
func inParallel[T any](list []T, do func(T) error) []error {
	var (
		all  sync.WaitGroup
		errs = make([]error, len(list))
		slot = make(chan struct{}, healWidth)
	)
	for i, one := range list {
		all.Go(func() {
			slot <- struct{}{}
			defer func() { <-slot }()
			errs[i] = do(one)
		})
	}
	all.Wait()
	return errs
}

func (a *Attacher) heal(ctx context.Context, spec Spec) (lacks int, err error) {
	info, err := a.find(spec.WWID)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	release, err := a.targets.Share(ctx, spec.Target)
	if err != nil {
		return 0, err
	}
	defer release()
	errs := []error{a.keepAdopted(ctx, info), a.keepListed(ctx, spec.WWID)}
	lacks, err = a.healPaths(ctx, spec)
	return lacks, errors.Join(append(errs, err)...)
}

// healPaths adds the paths that the volume lacks, and counts those that it lacks still.
func (a *Attacher) healPaths(ctx context.Context, spec Spec) (lacks int, err error) {
	res, err := a.cfg.Interfaces()
	if err != nil {
		return 0, err
	}
	pairs, missing := wanted(spec, res)
	lacking, err := a.lacking(spec, pairs)
	if err == nil && len(lacking) > 0 {
		missing = errors.Join(append(a.healPairs(ctx, spec, lacking), missing)...)
		lacking, err = a.lacking(spec, lacking)
	}
	if errors.Is(err, ErrNotFound) {
		return 0, missing // detached meanwhile
	}
	return len(lacking), errors.Join(missing, err)
}

// keepListed keeps the volume on multipathd's list: without it a multipathd that starts anew gives the map up.
func (a *Attacher) keepListed(ctx context.Context, wwid string) error {
	unlock, ok := a.volumes.TryLock(wwid)
	if !ok {
		return nil
	}
	defer unlock()
	info, err := a.find(wwid)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	id := strings.TrimPrefix(info.UUID, multipath.UUID(""))
	return a.cfg.Files(func() error { return a.cfg.WWIDs.Add(ctx, id) })
}

// keepAdopted makes multipathd take a map that it does not have: it was started anew without it, or we were killed
// before it was told.
func (a *Attacher) keepAdopted(ctx context.Context, info multipath.Info) error {
	_, err := a.mpd.Map(ctx, info.Name)
	if !errors.Is(err, multipath.ErrNotFound) {
		return nil // it has it, or is too busy to say; the next time comes
	}
	a.mu.Lock()
	_, underway := a.adopting[info.UUID]
	a.mu.Unlock()
	if underway {
		return nil
	}
	hold, err := a.dm.Hold(info)
	if err != nil {
		return err
	}
	a.adopt(info, hold) //nolint:contextcheck // it goes on when the call has returned
	return nil
}
