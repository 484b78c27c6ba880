package lio

import (
	"context"
	"fmt"
	"math"

	"github.com/portbind/portbind/pkg/backend"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// CreateVolume makes a volume, or returns the one that fits.
func (b *Backend) CreateVolume(ctx context.Context, req backend.CreateVolume) (backend.Volume, error) {
	in := &targetv1.CreateVolumeRequest{
		Key:           volumeKey(req.Key),
		RequiredBytes: uint64(max(req.RequiredBytes, 0)),
		LimitBytes:    uint64(max(req.LimitBytes, 0)),
		Attributes:    req.Attributes,
	}
	if s := req.SourceSnapshot; s != nil {
		in.SourceSnapshot = snapshotKey(*s)
	}
	if s := req.SourceVolume; s != nil {
		in.SourceVolume = volumeKey(*s)
	}
	return volume(ctx)(b.client.CreateVolume(ctx, in))
}

// DeleteVolume deletes.
func (b *Backend) DeleteVolume(ctx context.Context, key backend.Key) error {
	_, err := b.client.DeleteVolume(ctx, &targetv1.DeleteVolumeRequest{Key: volumeKey(key)})
	return fromStatus(ctx, err)
}

// Volume looks one up.
func (b *Backend) Volume(ctx context.Context, key backend.Key) (backend.Volume, error) {
	return volume(ctx)(b.client.GetVolume(ctx, &targetv1.GetVolumeRequest{Key: volumeKey(key)}))
}

// ExpandVolume grows.
func (b *Backend) ExpandVolume(ctx context.Context, key backend.Key, required, limit int64) (backend.Volume, error) {
	return volume(ctx)(b.client.ExpandVolume(ctx, &targetv1.ExpandVolumeRequest{
		Key: volumeKey(key), RequiredBytes: uint64(max(required, 0)), LimitBytes: uint64(max(limit, 0)),
	}))
}

// SetAttributes replaces the volume's.
func (b *Backend) SetAttributes(ctx context.Context, key backend.Key, attributes map[string]string) (backend.Volume, error) {
	return volume(ctx)(b.client.ModifyVolume(ctx, &targetv1.ModifyVolumeRequest{Key: volumeKey(key), Attributes: attributes}))
}

// ListVolumes gives one page.
func (b *Backend) ListVolumes(ctx context.Context, limit int, token string) ([]backend.Volume, string, error) {
	out, err := b.client.ListVolumes(ctx, &targetv1.ListVolumesRequest{MaxEntries: entries(limit), Token: token})
	if err != nil {
		return nil, "", fromListStatus(ctx, err, token)
	}
	volumes := make([]backend.Volume, len(out.GetVolumes()))
	for i, v := range out.GetVolumes() {
		if volumes[i], err = toVolume(v); err != nil {
			return nil, "", err
		}
	}
	return volumes, out.GetNextToken(), nil
}

// CreateSnapshot takes one.
func (b *Backend) CreateSnapshot(ctx context.Context, key, source backend.Key) (backend.Snapshot, error) {
	return snapshot(ctx)(b.client.CreateSnapshot(ctx, &targetv1.CreateSnapshotRequest{
		Key: snapshotKey(key), Source: volumeKey(source),
	}))
}

// DeleteSnapshot deletes.
func (b *Backend) DeleteSnapshot(ctx context.Context, key backend.Key) error {
	_, err := b.client.DeleteSnapshot(ctx, &targetv1.DeleteSnapshotRequest{Key: snapshotKey(key)})
	return fromStatus(ctx, err)
}

// Snapshot looks one up.
func (b *Backend) Snapshot(ctx context.Context, key backend.Key) (backend.Snapshot, error) {
	return snapshot(ctx)(b.client.GetSnapshot(ctx, &targetv1.GetSnapshotRequest{Key: snapshotKey(key)}))
}

// ListSnapshots gives one page.
func (b *Backend) ListSnapshots(
	ctx context.Context, source *backend.Key, limit int, token string,
) ([]backend.Snapshot, string, error) {
	in := &targetv1.ListSnapshotsRequest{MaxEntries: entries(limit), Token: token}
	if source != nil {
		in.Source = volumeKey(*source)
	}
	out, err := b.client.ListSnapshots(ctx, in)
	if err != nil {
		return nil, "", fromListStatus(ctx, err, token)
	}
	snapshots := make([]backend.Snapshot, len(out.GetSnapshots()))
	for i, s := range out.GetSnapshots() {
		if snapshots[i], err = toSnapshot(s); err != nil {
			return nil, "", err
		}
	}
	return snapshots, out.GetNextToken(), nil
}

// volume converts what a call that returns a volume gave.
func volume(ctx context.Context) func(*targetv1.Volume, error) (backend.Volume, error) {
	return func(v *targetv1.Volume, err error) (backend.Volume, error) {
		if err != nil {
			return backend.Volume{}, fromStatus(ctx, err)
		}
		return toVolume(v)
	}
}

// snapshot converts what a call that returns a snapshot gave.
func snapshot(ctx context.Context) func(*targetv1.Snapshot, error) (backend.Snapshot, error) {
	return func(s *targetv1.Snapshot, err error) (backend.Snapshot, error) {
		if err != nil {
			return backend.Snapshot{}, fromStatus(ctx, err)
		}
		return toSnapshot(s)
	}
}

func toVolume(v *targetv1.Volume) (backend.Volume, error) {
	bytes, err := size(v.GetSizeBytes())
	out := backend.Volume{
		Key: backendKey(v.GetKey()), SizeBytes: bytes, WWID: v.GetWwid(), Initiators: v.GetInitiators(),
		Attributes: v.GetAttributes(),
	}
	if s := v.GetSourceSnapshot(); s != nil {
		out.SourceSnapshot = &backend.Key{Pool: s.GetPool(), Name: s.GetName()}
	}
	if s := v.GetSourceVolume(); s != nil {
		key := backendKey(s)
		out.SourceVolume = &key
	}
	return out, err
}

func toSnapshot(s *targetv1.Snapshot) (backend.Snapshot, error) {
	bytes, err := size(s.GetSizeBytes())
	return backend.Snapshot{
		Key:       backend.Key{Pool: s.GetKey().GetPool(), Name: s.GetKey().GetName()},
		Source:    backendKey(s.GetSource()),
		SizeBytes: bytes,
		Created:   s.GetCreated().AsTime(),
	}, err
}

func volumeKey(k backend.Key) *targetv1.VolumeKey {
	return &targetv1.VolumeKey{Pool: k.Pool, Name: k.Name}
}

func snapshotKey(k backend.Key) *targetv1.SnapshotKey {
	return &targetv1.SnapshotKey{Pool: k.Pool, Name: k.Name}
}

func backendKey(k *targetv1.VolumeKey) backend.Key {
	return backend.Key{Pool: k.GetPool(), Name: k.GetName()}
}

// size refuses what does not fit; no device is that large, so the answer is corrupt.
func size(bytes uint64) (int64, error) {
	if bytes > math.MaxInt64 {
		return 0, fmt.Errorf("the target reports %d bytes", bytes)
	}
	return int64(bytes), nil
}

func entries(limit int) uint32 {
	return uint32(min(max(limit, 0), math.MaxInt32))
}
