package server

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/lio/liotest"
	"github.com/portbind/portbind/pkg/target/pool"
	"github.com/portbind/portbind/pkg/target/store"
)

const (
	iqn   = "iqn.2026-11.io.example:t"
	nodeA = "iqn.2026-11.io.example:a"
	nodeB = "iqn.2026-11.io.example:b"
	mib   = int64(1) << 20
)

// fakePool is a pool in memory. Sizes are multiples of 1 MiB.
type fakePool struct {
	mu        sync.Mutex
	volumes   map[string]pool.Volume
	snapshots map[string]pool.Snapshot
	active    map[string]bool
	// hold, when set, is waited for in CreateVolume; began is told first.
	hold, began chan struct{}
	made        int
	problems    []pool.Problem
	// broken makes reads fail.
	broken error
}

func newFakePool() *fakePool {
	return &fakePool{volumes: map[string]pool.Volume{}, snapshots: map[string]pool.Snapshot{}, active: map[string]bool{}}
}

func (f *fakePool) Recover(context.Context) error { return nil }

func sorted[T any](m map[string]T) []T {
	var out []T
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

func (f *fakePool) Volumes(context.Context) ([]pool.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sorted(f.volumes), f.broken
}

func (f *fakePool) Problems(context.Context) ([]pool.Problem, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.problems), f.broken
}

func (f *fakePool) Snapshots(context.Context) ([]pool.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sorted(f.snapshots), nil
}

func (f *fakePool) Usage(context.Context) (pool.Usage, error) {
	return pool.Usage{Total: 100 * mib, Free: 50 * mib, MaxVolume: 1 << 40}, nil
}

func (f *fakePool) CreateVolume(_ context.Context, req pool.Create) (pool.Volume, error) {
	if f.hold != nil {
		f.began <- struct{}{}
		<-f.hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made++
	v, ok := f.volumes[req.Name]
	if !ok {
		v = pool.Volume{Name: req.Name, Size: max(req.Required, mib), Serial: req.Serial, Source: req.Source, Created: time.Now()}
	}
	v.Attributes = maps.Clone(req.Attributes)
	f.volumes[req.Name] = v
	return v, nil
}

func (f *fakePool) DeleteVolume(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.active[name] {
		return fmt.Errorf("%w: %s", pool.ErrInUse, name)
	}
	delete(f.volumes, name)
	return nil
}

func (f *fakePool) ExpandVolume(_ context.Context, name string, required, _ int64) (pool.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.volumes[name]
	if !ok {
		return v, pool.ErrNotFound
	}
	v.Size = max(v.Size, required)
	f.volumes[name] = v
	return v, nil
}

func (f *fakePool) SetAttributes(_ context.Context, name string, attributes map[string]string) (pool.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.volumes[name]
	if !ok {
		return v, pool.ErrNotFound
	}
	v.Attributes = maps.Clone(attributes)
	f.volumes[name] = v
	return v, nil
}

func (f *fakePool) CreateSnapshot(_ context.Context, name, source string) (pool.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := pool.Snapshot{Name: name, Source: source, Size: f.volumes[source].Size, Created: time.Now()}
	f.snapshots[name] = s
	return s, nil
}

func (f *fakePool) DeleteSnapshot(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.snapshots, name)
	return nil
}

func (f *fakePool) Activate(_ context.Context, names ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		if _, ok := f.volumes[name]; !ok {
			return fmt.Errorf("%w: %s", pool.ErrNotFound, name)
		}
		f.active[name] = true
	}
	return nil
}

func (f *fakePool) Active(name string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active[name], nil
}

func (f *fakePool) Device(name string) string { return "/dev/vg/" + name }

func (f *fakePool) Deactivate(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.active, name)
	return nil
}

// rig is a server with its surroundings, which survive a restart of it.
type rig struct {
	*Server
	t       *testing.T
	pool    *fakePool
	tree    *liotest.Tree
	records *store.Store
	cfg     Config
}

func newRig(t *testing.T) *rig {
	t.Helper()
	records, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	r := &rig{
		t: t, pool: newFakePool(), tree: liotest.New(t), records: records,
		cfg: Config{Version: "test", IQN: iqn, Portals: []string{"10.0.0.1:3260"}},
	}
	r.restart()
	return r
}

// restart is a new daemon over what the old one has left.
func (r *rig) restart() {
	r.t.Helper()
	if err := r.tryRestart(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) tryRestart() error {
	target := lio.New(r.tree, lio.Config{
		IQN: r.cfg.IQN, CHAPRequired: r.cfg.CHAPRequired, Portals: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:3260")},
	})
	r.Server = New(r.cfg, map[string]pool.Driver{"fast": r.pool, "slow": newFakePool()}, target, r.records)
	return r.Restore(r.t.Context())
}
