package attach

import (
	"context"
	"sync"
)

// loose counts removals of disks whose names could not be kept taken (pins.go): one whose session is lost refuses to be opened. Its
// name may be the next disk's before udevd and multipathd have seen the removal, and multipathd, which finds paths by name and asks
// udev's database who they are, would put that one into the map of the former volume. Seen in the lab, with a machine so slow
// that udevd lagged by three seconds: for half a second a map had a path of another volume. So no disk is looked for, and none
// is used that was found, until they have.
type loose struct {
	mu      sync.Mutex
	pending map[chan struct{}]struct{}
}

// add notes a removal that begins; end, that it was seen.
func (l *loose) add() (end func()) {
	seen := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending = map[chan struct{}]struct{}{}
	}
	l.pending[seen] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.pending, seen)
		close(seen)
	}
}

// settle waits until those that have begun were seen.
func (l *loose) settle(ctx context.Context) error {
	l.mu.Lock()
	var all []chan struct{}
	for seen := range l.pending {
		all = append(all, seen)
	}
	l.mu.Unlock()
	for _, seen := range all {
		select {
		case <-seen:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
