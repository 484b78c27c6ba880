package lvmthin

import (
	"context"
	"slices"
	"sync"
)

// together changes in one LVM command what several callers want changed, each one LV: a command takes half a second or more,
// however many LVs it names. Those who come while the group is busy are served together by the first of them who gets it.
type together struct {
	// run changes volumes by name, with the group's lock held.
	run func(ctx context.Context, names []string) error

	mu      sync.Mutex
	waiting []*wish
}

// wish is one caller's. It is fulfilled with the group's lock held, by whoever holds it.
type wish struct {
	name      string
	fulfilled bool
	err       error
}

// do waits for the group and has the volume changed.
func (t *together) do(ctx context.Context, group gate, name string) error {
	w := &wish{name: name}
	t.mu.Lock()
	t.waiting = append(t.waiting, w)
	t.mu.Unlock()
	if err := group.lock(ctx); err != nil {
		t.withdraw(w)
		return err
	}
	defer group.unlock()
	if !w.fulfilled {
		t.fulfil(ctx, t.take())
	}
	return w.err
}

// fulfil outlives the caller's context: it is not only his. When the one command fails, each volume is tried alone, for an
// error of its own.
func (t *together) fulfil(ctx context.Context, all []*wish) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	names := make([]string, len(all))
	for i, w := range all {
		names[i] = w.name
	}
	err := t.run(ctx, names)
	for _, w := range all {
		w.fulfilled, w.err = true, err
		if err != nil && len(all) > 1 {
			w.err = t.run(ctx, []string{w.name})
		}
	}
}

func (t *together) take() []*wish {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.waiting
	t.waiting = nil
	return all
}

// withdraw does nothing when the wish is being fulfilled.
func (t *together) withdraw(w *wish) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = slices.DeleteFunc(t.waiting, func(x *wish) bool { return x == w })
}
