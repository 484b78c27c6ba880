package server

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portbind/portbind/pkg/target/pool"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// CreateSnapshot implements the Target service.
func (s *Server) CreateSnapshot(ctx context.Context, req *targetv1.CreateSnapshotRequest) (*targetv1.Snapshot, error) {
	k, src := req.GetKey(), req.GetSource()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	if err := checkKey("source", src); err != nil {
		return nil, err
	}
	if src.GetPool() != k.GetPool() {
		return nil, invalid("key.pool", "a snapshot is in the pool of its source, %s, not in %s", src.GetPool(), k.GetPool())
	}
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	return run(ctx, s.jobs, snapshotObject(k), req, func(ctx context.Context) (*targetv1.Snapshot, error) {
		v, err := d.CreateSnapshot(ctx, k.GetName(), src.GetName())
		if err != nil {
			return nil, err
		}
		return snapshot(k.GetPool(), v), nil
	})
}

// DeleteSnapshot implements the Target service.
func (s *Server) DeleteSnapshot(ctx context.Context, req *targetv1.DeleteSnapshotRequest) (*targetv1.DeleteSnapshotResponse, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	return run(ctx, s.jobs, snapshotObject(k), req, func(ctx context.Context) (*targetv1.DeleteSnapshotResponse, error) {
		return &targetv1.DeleteSnapshotResponse{}, d.DeleteSnapshot(ctx, k.GetName())
	})
}

// GetSnapshot implements the Target service.
func (s *Server) GetSnapshot(ctx context.Context, req *targetv1.GetSnapshotRequest) (*targetv1.Snapshot, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	snaps, err := d.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(snaps, func(v pool.Snapshot) bool { return v.Name == k.GetName() })
	if i < 0 {
		return nil, notFound("no snapshot %s/%s", k.GetPool(), k.GetName())
	}
	return snapshot(k.GetPool(), snaps[i]), nil
}

// ListSnapshots implements the Target service.
func (s *Server) ListSnapshots(ctx context.Context, req *targetv1.ListSnapshotsRequest) (*targetv1.ListSnapshotsResponse, error) {
	of := req.GetSource()
	if of != nil {
		if err := checkKey("source", of); err != nil {
			return nil, err
		}
	}
	var all []*targetv1.Snapshot
	for _, name := range s.poolNames() {
		if of != nil && of.GetPool() != name {
			continue
		}
		snaps, err := s.pools[name].Snapshots(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range snaps {
			if of == nil || of.GetName() == v.Source {
				all = append(all, snapshot(name, v))
			}
		}
	}
	page, next, err := paginate(all, func(v *targetv1.Snapshot) key { return v.GetKey() }, req.GetMaxEntries(), req.GetToken())
	return &targetv1.ListSnapshotsResponse{Snapshots: page, NextToken: next}, err
}

func snapshot(poolName string, v pool.Snapshot) *targetv1.Snapshot {
	return &targetv1.Snapshot{
		Key:       &targetv1.SnapshotKey{Pool: poolName, Name: v.Name},
		Source:    &targetv1.VolumeKey{Pool: poolName, Name: v.Source},
		SizeBytes: unsigned(v.Size), Created: timestamppb.New(v.Created),
	}
}
