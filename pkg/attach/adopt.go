package attach

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/multipath"
)

const (
	// adoptTime bounds one go at having multipathd adopt a map. Heal tries again.
	adoptTime = 2 * time.Minute
	// adoptWidth is how many commands of that kind are underway: multipathd does one at a time, and answers "timeout" to
	// those that have waited for 4 s.
	adoptWidth = 2
)

// adoption is a map that multipathd is being told of. Until it has it the map is held open.
type adoption struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// adopt has multipathd take a map that we made, in the background: the map works without it. The hold is let go when
// multipathd has it, or when release is called.
func (a *Attacher) adopt(info multipath.Info, hold *multipath.Hold) {
	ctx, cancel := context.WithCancel(a.life)
	ad := &adoption{cancel: cancel, done: make(chan struct{})}
	a.mu.Lock()
	a.adopting[info.UUID] = ad
	a.mu.Unlock()
	a.work.Go(func() {
		defer close(ad.done)
		defer cancel()
		defer hold.Release()
		if err := a.handOver(ctx, info.Name); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "multipathd has not adopted a map; it works, but failed paths stay failed", "map", info.Name)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.adopting[info.UUID] == ad {
			delete(a.adopting, info.UUID)
		}
	})
}

// handOver tells multipathd of a map until it lists it. "add map" is what a uevent of the map does, but sooner: the
// paths are then known by the map before udev has handled them. The other way round multipathd would take the first
// path that udev is done with and cut the map down to that one.
func (a *Attacher) handOver(ctx context.Context, name string) error {
	select {
	case a.adopters <- struct{}{}:
		defer func() { <-a.adopters }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, adoptTime)
	defer cancel()
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := a.mpd.AddMap(ctx, name)
		if err == nil {
			if _, err = a.mpd.Map(ctx, name); err == nil {
				return nil
			}
		}
		if sleep(ctx, pause) != nil {
			return err
		}
	}
}

// release ends an adoption, so that the map can be removed. A command that multipathd has begun is waited for, a
// moment: it must not meet a map that is no more.
func (a *Attacher) release(uuid string) {
	a.mu.Lock()
	ad := a.adopting[uuid]
	a.mu.Unlock()
	if ad == nil {
		return
	}
	t := time.NewTimer(300 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ad.done:
	case <-t.C:
	}
	ad.cancel()
	<-ad.done
}
