package lio

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/backend/fake"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// server speaks the target's API over the fake backend, so that the contract also tests what the client makes of it.
type server struct {
	targetv1.UnimplementedTargetServer

	fake *fake.Backend
	chap chan *targetv1.Chap
	// asked counts GetInfo.
	asked atomic.Int32
}

func newServer() *server {
	return &server{
		fake: fake.New("iqn.2026-11.io.portbind:test",
			[]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:3260"), netip.MustParseAddrPort("[2001:db8::1]:3260")},
			map[string]int64{"fast": 1 << 40, "slow": 1 << 40}),
		chap: make(chan *targetv1.Chap, 100),
	}
}

func toStatus(err error) error {
	if err == nil {
		return nil
	}
	for code, sentinel := range map[codes.Code]error{
		codes.InvalidArgument: backend.ErrInvalid, codes.NotFound: backend.ErrNotFound, codes.AlreadyExists: backend.ErrExists,
		codes.OutOfRange: backend.ErrOutOfRange, codes.ResourceExhausted: backend.ErrExhausted,
		codes.FailedPrecondition: backend.ErrInUse, codes.Aborted: backend.ErrPageToken, codes.Canceled: context.Canceled,
	} {
		if errors.Is(err, sentinel) {
			return status.Error(code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

func (s *server) GetInfo(ctx context.Context, _ *targetv1.GetInfoRequest) (*targetv1.GetInfoResponse, error) {
	s.asked.Add(1)
	target, err := s.fake.Target(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	out := &targetv1.GetInfoResponse{Iqn: target.IQN}
	for _, p := range target.Portals {
		out.Portals = append(out.Portals, p.String())
	}
	for _, p := range target.Pools {
		c, err := s.fake.Capacity(ctx, p)
		if err != nil {
			return nil, toStatus(err)
		}
		out.Pools = append(out.Pools, &targetv1.Pool{
			Name: p, TotalBytes: uint64(c.TotalBytes), FreeBytes: uint64(c.AvailableBytes), MaxVolumeBytes: uint64(c.MaxVolumeBytes),
		})
	}
	return out, nil
}

type keyed interface {
	GetPool() string
	GetName() string
}

func key(k keyed) backend.Key { return backend.Key{Pool: k.GetPool(), Name: k.GetName()} }

func fromVolume(v backend.Volume, err error) (*targetv1.Volume, error) {
	out := &targetv1.Volume{
		Key: volumeKey(v.Key), SizeBytes: uint64(v.SizeBytes), Wwid: v.WWID, Initiators: v.Initiators,
		Attributes: v.Attributes,
	}
	if v.SourceSnapshot != nil {
		out.SourceSnapshot = snapshotKey(*v.SourceSnapshot)
	}
	if v.SourceVolume != nil {
		out.SourceVolume = volumeKey(*v.SourceVolume)
	}
	return out, toStatus(err)
}

func fromSnapshot(s backend.Snapshot, err error) (*targetv1.Snapshot, error) {
	return &targetv1.Snapshot{
		Key: snapshotKey(s.Key), Source: volumeKey(s.Source), SizeBytes: uint64(s.SizeBytes), Created: timestamppb.New(s.Created),
	}, toStatus(err)
}

func (s *server) CreateVolume(ctx context.Context, in *targetv1.CreateVolumeRequest) (*targetv1.Volume, error) {
	req := backend.CreateVolume{
		Key: key(in.GetKey()), RequiredBytes: int64(in.GetRequiredBytes()), LimitBytes: int64(in.GetLimitBytes()),
		Attributes: in.GetAttributes(),
	}
	if in.GetSourceSnapshot() != nil {
		k := key(in.GetSourceSnapshot())
		req.SourceSnapshot = &k
	}
	if in.GetSourceVolume() != nil {
		k := key(in.GetSourceVolume())
		req.SourceVolume = &k
	}
	return fromVolume(s.fake.CreateVolume(ctx, req))
}

func (s *server) DeleteVolume(ctx context.Context, in *targetv1.DeleteVolumeRequest) (*targetv1.DeleteVolumeResponse, error) {
	return &targetv1.DeleteVolumeResponse{}, toStatus(s.fake.DeleteVolume(ctx, key(in.GetKey())))
}

func (s *server) GetVolume(ctx context.Context, in *targetv1.GetVolumeRequest) (*targetv1.Volume, error) {
	return fromVolume(s.fake.Volume(ctx, key(in.GetKey())))
}

func (s *server) ListVolumes(ctx context.Context, in *targetv1.ListVolumesRequest) (*targetv1.ListVolumesResponse, error) {
	volumes, next, err := s.fake.ListVolumes(ctx, int(in.GetMaxEntries()), in.GetToken())
	out := &targetv1.ListVolumesResponse{NextToken: next}
	for _, v := range volumes {
		entry, _ := fromVolume(v, nil)
		out.Volumes = append(out.Volumes, entry)
	}
	return out, toStatus(err)
}

func (s *server) ExpandVolume(ctx context.Context, in *targetv1.ExpandVolumeRequest) (*targetv1.Volume, error) {
	return fromVolume(s.fake.ExpandVolume(ctx, key(in.GetKey()), int64(in.GetRequiredBytes()), int64(in.GetLimitBytes())))
}

func (s *server) ModifyVolume(ctx context.Context, in *targetv1.ModifyVolumeRequest) (*targetv1.Volume, error) {
	return fromVolume(s.fake.SetAttributes(ctx, key(in.GetKey()), in.GetAttributes()))
}

func (s *server) CreateSnapshot(ctx context.Context, in *targetv1.CreateSnapshotRequest) (*targetv1.Snapshot, error) {
	return fromSnapshot(s.fake.CreateSnapshot(ctx, key(in.GetKey()), key(in.GetSource())))
}

func (s *server) DeleteSnapshot(ctx context.Context, in *targetv1.DeleteSnapshotRequest) (*targetv1.DeleteSnapshotResponse, error) {
	return &targetv1.DeleteSnapshotResponse{}, toStatus(s.fake.DeleteSnapshot(ctx, key(in.GetKey())))
}

func (s *server) GetSnapshot(ctx context.Context, in *targetv1.GetSnapshotRequest) (*targetv1.Snapshot, error) {
	return fromSnapshot(s.fake.Snapshot(ctx, key(in.GetKey())))
}

func (s *server) ListSnapshots(ctx context.Context, in *targetv1.ListSnapshotsRequest) (*targetv1.ListSnapshotsResponse, error) {
	var source *backend.Key
	if in.GetSource() != nil {
		k := key(in.GetSource())
		source = &k
	}
	snapshots, next, err := s.fake.ListSnapshots(ctx, source, int(in.GetMaxEntries()), in.GetToken())
	out := &targetv1.ListSnapshotsResponse{NextToken: next}
	for _, v := range snapshots {
		entry, _ := fromSnapshot(v, nil)
		out.Snapshots = append(out.Snapshots, entry)
	}
	return out, toStatus(err)
}

func (s *server) Publish(ctx context.Context, in *targetv1.PublishRequest) (*targetv1.PublishResponse, error) {
	select {
	case s.chap <- in.GetChap():
	default:
	}
	e, err := s.fake.Publish(ctx, backend.Publish{
		Key: key(in.GetKey()), Initiator: in.GetInitiator(), ReadOnly: in.GetReadOnly(), Shared: in.GetShared(),
	})
	return &targetv1.PublishResponse{Lun: uint32(e.LUN), Attributes: e.Attributes}, toStatus(err)
}

func (s *server) Unpublish(ctx context.Context, in *targetv1.UnpublishRequest) (*targetv1.UnpublishResponse, error) {
	return &targetv1.UnpublishResponse{}, toStatus(s.fake.Unpublish(ctx, key(in.GetKey()), in.GetInitiator()))
}

func fromHealth(h backend.Health) *targetv1.VolumeHealth {
	out := &targetv1.VolumeHealth{Key: volumeKey(h.Key)}
	for _, p := range h.Problems {
		out.Problems = append(out.Problems, &targetv1.Problem{Severity: targetv1.Severity(p.Severity), Reason: p.Reason, Message: p.Message})
	}
	return out
}

func (s *server) GetVolumeHealth(ctx context.Context, in *targetv1.GetVolumeHealthRequest) (*targetv1.VolumeHealth, error) {
	h, err := s.fake.Health(ctx, key(in.GetKey()))
	return fromHealth(h), toStatus(err)
}

func (s *server) ListVolumeHealth(
	ctx context.Context, in *targetv1.ListVolumeHealthRequest,
) (*targetv1.ListVolumeHealthResponse, error) {
	ill, next, err := s.fake.ListHealth(ctx, int(in.GetMaxEntries()), in.GetToken())
	out := &targetv1.ListVolumeHealthResponse{NextToken: next}
	for _, h := range ill {
		out.Volumes = append(out.Volumes, fromHealth(h))
	}
	return out, toStatus(err)
}
