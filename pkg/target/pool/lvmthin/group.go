// Package lvmthin keeps volumes in LVM thin pools. The truth is in LVM: what an LV is, its tags say.
package lvmthin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/portbind/portbind/pkg/hostexec"
)

// Group is a volume group. LVM takes a lock per group, so its commands are run one after another here too: waiting
// then honours contexts, and a listing can be kept between them.
type Group struct {
	lvm lvm
	// change is held while something in the group is changed.
	change gate

	mu sync.Mutex
	// known is the last listing; nil when it has to be read again. The daemon is the only one who makes or
	// removes LVs with our tag, so it holds until a command of ours fails.
	known *listing
}

// NewGroup gives the volume group of that name. Nothing is run yet.
func NewGroup(runner hostexec.Runner, vg string) *Group {
	return &Group{lvm: lvm{runner: runner, vg: vg}, change: make(gate, 1)}
}

// retried does op once more when an LVM command in it has failed, with a fresh listing: what was known before may have
// been old, because a command of a daemon that was killed had still been at work, or an administrator.
func retried[T any](op func() (T, error)) (T, error) {
	v, err := op()
	var failed *hostexec.Error
	if errors.As(err, &failed) && failed.ExitCode > 0 {
		return op()
	}
	return v, err
}

// gate is a mutex whose lock honours a context.
type gate chan struct{}

func (g gate) lock(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("wait for LVM: %w", context.Cause(ctx))
	}
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for LVM: %w", context.Cause(ctx))
	}
}

func (g gate) unlock() { <-g }

// list gives what the group holds.
func (g *Group) list(ctx context.Context) (listing, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known != nil {
		return *g.known, nil
	}
	out, err := g.lvm.report(ctx, g.lvm.vg, lvFields)
	if err != nil {
		return listing{}, err
	}
	l, err := parseListing(out)
	if err != nil {
		return listing{}, err
	}
	g.known = &l
	return l, nil
}

// forget makes the next list ask LVM.
func (g *Group) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known = nil
}

// noted takes over the outcome of a command that changed one LV: set, or gone when v is nil. After an error nobody
// knows how far LVM came.
func (g *Group) noted(err error, lvName string, v *lv) error {
	if err != nil {
		g.forget()
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known == nil {
		return nil
	}
	next := listing{ours: maps.Clone(g.known.ours), foreign: g.known.foreign}
	if v == nil {
		delete(next.ours, lvName)
	} else {
		next.ours[lvName] = *v
	}
	g.known = &next
	return nil
}

// of picks the LVs of one pool and kind, sorted by name.
func (l listing) of(poolName string, k kind) []lv {
	var found []lv
	for _, v := range l.ours {
		if v.pool == poolName && v.kind == k {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b lv) int { return strings.Compare(a.name, b.name) })
	return found
}

// find gives the LV of that name when it is ours, in the pool, and of the kind.
func (l listing) find(poolName, lvName string, k kind) (lv, bool) {
	v, ok := l.ours[lvName]
	return v, ok && v.pool == poolName && v.kind == k
}

// taken says by whom the name of an LV is taken that is not ours to use.
func (l listing) taken(poolName, lvName string) string {
	if v, ok := l.ours[lvName]; ok && v.pool != poolName {
		return fmt.Sprintf("the %s of that name in pool %s of the same volume group", v.kind, v.pool)
	}
	if l.foreign[lvName] {
		return fmt.Sprintf("an LV %s that is not ours", lvName)
	}
	return ""
}
