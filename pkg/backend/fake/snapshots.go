package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/portbind/portbind/pkg/backend"
)

// CreateSnapshot as the contract has it.
func (b *Backend) CreateSnapshot(ctx context.Context, key, source backend.Key) (backend.Snapshot, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Snapshot{}, err
	}
	defer unlock()
	if err := b.checkKey(key); err != nil {
		return backend.Snapshot{}, err
	}
	if s, ok := b.snapshots[key]; ok {
		if s.Source != source {
			return backend.Snapshot{}, fmt.Errorf("a snapshot of %s/%s: %w", s.Source.Pool, s.Source.Name, backend.ErrExists)
		}
		return s, nil
	}
	r, err := b.find(source)
	if err != nil {
		return backend.Snapshot{}, err
	}
	if key.Pool != source.Pool {
		return backend.Snapshot{}, fmt.Errorf("a snapshot in another pool: %w", backend.ErrInvalid)
	}
	s := backend.Snapshot{Key: key, Source: source, SizeBytes: r.volume.SizeBytes, Created: now()}
	b.snapshots[key] = s
	return s, nil
}

// DeleteSnapshot as the contract has it.
func (b *Backend) DeleteSnapshot(ctx context.Context, key backend.Key) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	delete(b.snapshots, key)
	return nil
}

// Snapshot as the contract has it.
func (b *Backend) Snapshot(ctx context.Context, key backend.Key) (backend.Snapshot, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Snapshot{}, err
	}
	defer unlock()
	s, ok := b.snapshots[key]
	if !ok {
		return backend.Snapshot{}, fmt.Errorf("snapshot %.64q in pool %.64q: %w", key.Name, key.Pool, backend.ErrNotFound)
	}
	return s, nil
}

// ListSnapshots as the contract has it.
func (b *Backend) ListSnapshots(
	ctx context.Context, source *backend.Key, limit int, token string,
) ([]backend.Snapshot, string, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	keys := slices.Collect(maps.Keys(b.snapshots))
	if source != nil {
		keys = slices.DeleteFunc(keys, func(k backend.Key) bool { return b.snapshots[k].Source != *source })
	}
	keys, next, err := page(keys, limit, token)
	if err != nil {
		return nil, "", err
	}
	out := make([]backend.Snapshot, len(keys))
	for i, k := range keys {
		out[i] = b.snapshots[k]
	}
	return out, next, nil
}
