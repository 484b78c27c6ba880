package attach

import (
	"context"
	"fmt"

	"github.com/portbind/portbind/pkg/multipath"
)

// A removed map's number ("dm-0") is free at once, too, and its uuid is that of the volume's next map. udevd handles the
// old map's events late, asks device-mapper what dm-0 is called, and gets the name of the map that has the number by
// then: multipathd is told that a live map was removed, stops queueing on it and forgets it. Seen in the lab with one
// volume attached 200 ms after another was detached. So neither is used again until both have seen the removal.

// departure is a map that is being removed, until udevd and multipathd have seen it.
type departure struct {
	uuid  string
	minor uint32
	seen  <-chan struct{} // closed when udevd has handled the removal
	gone  chan struct{}   // closed when multipathd has, too
}

// leave is to be called before the map is removed; gone ends it.
func (a *Attacher) leave(info multipath.Info) *departure {
	d := &departure{
		uuid: info.UUID, minor: info.Devno.Minor,
		seen: a.udev.ExpectRemoval(fmt.Sprintf("dm-%d", info.Devno.Minor)), gone: make(chan struct{}),
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaving[d.uuid] = d
	return d
}

// gone frees the uuid and the number of a map. Safe on nil.
func (a *Attacher) gone(d *departure) {
	if d == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leaving[d.uuid] == d {
		delete(a.leaving, d.uuid)
	}
	close(d.gone)
}

// left waits until the last map of that uuid is forgotten everywhere.
func (a *Attacher) left(ctx context.Context, uuid string) error {
	a.mu.Lock()
	d := a.leaving[uuid]
	a.mu.Unlock()
	if d == nil {
		return nil
	}
	select {
	case <-d.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leavingMinors gives the numbers that no map may get now.
func (a *Attacher) leavingMinors() []uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []uint32
	for _, d := range a.leaving {
		all = append(all, d.minor)
	}
	return all
}
