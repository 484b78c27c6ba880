// Package static is the backend of LUNs that exist already, on any array: nothing is made or deleted, and publishing
// tells the LUN that the volume attributes name. Masking and CHAP are the storage administrator's.
package static

import (
	"context"
	"fmt"

	"github.com/portbind/portbind/pkg/backend"
)

// Backend stands for one volume. Its zero value serves the calls that come without volume attributes.
type Backend struct {
	// LUN is where every initiator finds the volume.
	LUN int
}

var _ backend.Backend = Backend{}

// unsupported says what cannot be done and who does it instead.
func unsupported(what string) error {
	return fmt.Errorf("a static volume cannot be %s by this driver, only by the array's administrator: %w", what, backend.ErrUnsupported)
}

// Publish tells the LUN.
func (b Backend) Publish(ctx context.Context, _ backend.Publish) (backend.Export, error) {
	return backend.Export{LUN: b.LUN}, ctx.Err()
}

// Unpublish has nothing to undo. It does not fence: the array goes on serving the LUN.
func (Backend) Unpublish(ctx context.Context, _ backend.Key, _ string) error { return ctx.Err() }

// Target is not known here; the volume attributes have it.
func (Backend) Target(context.Context) (backend.Target, error) {
	return backend.Target{}, unsupported("placed")
}

// Capacity is not known.
func (Backend) Capacity(context.Context, string) (backend.Capacity, error) {
	return backend.Capacity{}, unsupported("measured")
}

// CreateVolume is refused.
func (Backend) CreateVolume(context.Context, backend.CreateVolume) (backend.Volume, error) {
	return backend.Volume{}, unsupported("created")
}

// DeleteVolume is refused: the PersistentVolume's reclaim policy must be Retain.
func (Backend) DeleteVolume(context.Context, backend.Key) error { return unsupported("deleted") }

// Volume always finds one: whether the LUN is there shows when a node attaches it. Its size is not known.
func (Backend) Volume(ctx context.Context, key backend.Key) (backend.Volume, error) {
	return backend.Volume{Key: key}, ctx.Err()
}

// ListVolumes has none to list: they exist as PersistentVolumes only.
func (Backend) ListVolumes(ctx context.Context, _ int, token string) ([]backend.Volume, string, error) {
	if token != "" {
		return nil, "", backend.ErrPageToken
	}
	return nil, "", ctx.Err()
}

// ExpandVolume is refused.
func (Backend) ExpandVolume(context.Context, backend.Key, int64, int64) (backend.Volume, error) {
	return backend.Volume{}, unsupported("expanded")
}

// SetAttributes is refused: the PersistentVolume says all.
func (Backend) SetAttributes(context.Context, backend.Key, map[string]string) (backend.Volume, error) {
	return backend.Volume{}, unsupported("modified")
}

// CreateSnapshot is refused.
func (Backend) CreateSnapshot(context.Context, backend.Key, backend.Key) (backend.Snapshot, error) {
	return backend.Snapshot{}, unsupported("snapshotted")
}

// DeleteSnapshot is refused.
func (Backend) DeleteSnapshot(context.Context, backend.Key) error { return unsupported("snapshotted") }

// Snapshot never finds one.
func (Backend) Snapshot(context.Context, backend.Key) (backend.Snapshot, error) {
	return backend.Snapshot{}, fmt.Errorf("static volumes have no snapshots: %w", backend.ErrNotFound)
}

// ListSnapshots has none to list.
func (Backend) ListSnapshots(ctx context.Context, _ *backend.Key, _ int, token string) ([]backend.Snapshot, string, error) {
	if token != "" {
		return nil, "", backend.ErrPageToken
	}
	return nil, "", ctx.Err()
}

// Health finds nothing wrong: only nodes see these volumes.
func (Backend) Health(ctx context.Context, key backend.Key) (backend.Health, error) {
	return backend.Health{Key: key}, ctx.Err()
}

// ListHealth has none to list.
func (Backend) ListHealth(ctx context.Context, _ int, token string) ([]backend.Health, string, error) {
	if token != "" {
		return nil, "", backend.ErrPageToken
	}
	return nil, "", ctx.Err()
}
