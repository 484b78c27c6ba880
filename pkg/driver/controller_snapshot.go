package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

// CreateSnapshot takes a snapshot, in the pool of its source.
func (c *Controller) CreateSnapshot(ctx context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	name, err := volume.MapName(req.GetName())
	if err != nil {
		return nil, err
	}
	source, err := volume.ParseSourceVolumeID(req.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	if _, err := volume.ParseSnapshotParameters(req.GetParameters()); err != nil {
		return nil, err
	}
	b, err := c.backendOf(source)
	if err != nil {
		return nil, err
	}
	s, err := b.CreateSnapshot(ctx, backend.Key{Pool: source.Pool, Name: name}, keyOf(source))
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshotOf(source.Target, s)}, nil
}

// snapshotOf is a snapshot in CSI's words. It can be used at once, as it is thin.
func snapshotOf(target string, s backend.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId:     idOf(target, s.Key).String(),
		SourceVolumeId: idOf(target, s.Source).String(),
		SizeBytes:      s.SizeBytes,
		CreationTime:   timestamppb.New(s.Created),
		ReadyToUse:     true,
	}
}

// DeleteSnapshot deletes; what does not exist, or never could, is deleted already.
func (c *Controller) DeleteSnapshot(ctx context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	id, err := volume.ParseSnapshotID(req.GetSnapshotId())
	if errors.Is(err, volume.ErrForeign) {
		return &csi.DeleteSnapshotResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, err
	}
	if err := b.DeleteSnapshot(ctx, keyOf(id)); err != nil {
		return nil, err
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// GetSnapshot looks one up.
func (c *Controller) GetSnapshot(ctx context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	s, err := c.snapshot(ctx, req.GetSnapshotId())
	if err != nil {
		return nil, err
	}
	return &csi.GetSnapshotResponse{Snapshot: s}, nil
}

func (c *Controller) snapshot(ctx context.Context, snapshotID string) (*csi.Snapshot, error) {
	id, err := volume.ParseSnapshotID(snapshotID)
	if err != nil {
		return nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, err
	}
	s, err := b.Snapshot(ctx, keyOf(id))
	if err != nil {
		return nil, err
	}
	return snapshotOf(id.Target, s), nil
}

// ListSnapshots lists all snapshots, those of one volume, or one. What does not exist gives an empty list.
func (c *Controller) ListSnapshots(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if req.GetSnapshotId() != "" {
		return c.listOne(ctx, req)
	}
	targets, source, err := c.sourceFilter(req.GetSourceVolumeId())
	if errors.Is(err, volume.ErrForeign) {
		return &csi.ListSnapshotsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	list := func(b backend.Backend, limit int, token string) ([]backend.Snapshot, string, error) {
		return b.ListSnapshots(ctx, source, limit, token)
	}
	snapshots, next, err := paginate(targets, req.GetMaxEntries(), req.GetStartingToken(), list)
	if err != nil {
		return nil, err
	}
	resp := &csi.ListSnapshotsResponse{NextToken: next}
	for _, s := range snapshots {
		resp.Entries = append(resp.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshotOf(s.target, s.entry)})
	}
	return resp, nil
}

func (c *Controller) listOne(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if source := req.GetSourceVolumeId(); source != "" {
		if _, err := volume.ParseSourceVolumeID(source); err != nil && !errors.Is(err, volume.ErrForeign) {
			return nil, err
		}
	}
	s, err := c.snapshot(ctx, req.GetSnapshotId())
	if errors.Is(err, volume.ErrForeign) || errors.Is(err, backend.ErrNotFound) {
		return &csi.ListSnapshotsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if source := req.GetSourceVolumeId(); source != "" && source != s.GetSourceVolumeId() {
		return &csi.ListSnapshotsResponse{}, nil
	}
	return &csi.ListSnapshotsResponse{Entries: []*csi.ListSnapshotsResponse_Entry{{Snapshot: s}}}, nil
}

// sourceFilter gives the targets to list, and the volume whose snapshots to list; nil is all.
func (c *Controller) sourceFilter(sourceID string) ([]Target, *backend.Key, error) {
	if sourceID == "" {
		return c.targets, nil, nil
	}
	id, err := volume.ParseSourceVolumeID(sourceID)
	if err != nil || id.IsStatic() {
		return nil, nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, nil, err
	}
	key := keyOf(id)
	return []Target{{Name: id.Target, Backend: b}}, &key, nil
}
