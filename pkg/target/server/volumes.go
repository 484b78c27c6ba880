package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/pool"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// CreateVolume implements the Target service.
func (s *Server) CreateVolume(ctx context.Context, req *targetv1.CreateVolumeRequest) (*targetv1.Volume, error) {
	if err := checkKey("key", req.GetKey()); err != nil {
		return nil, err
	}
	required, limit, err := checkSizes(req.GetRequiredBytes(), req.GetLimitBytes())
	if err != nil {
		return nil, err
	}
	src, err := checkSource(req)
	if err != nil {
		return nil, err
	}
	if err := checkAttributes(req.GetAttributes()); err != nil {
		return nil, err
	}
	d, err := s.driver(req.GetKey().GetPool())
	if err != nil {
		return nil, err
	}
	create := pool.Create{
		Name: req.GetKey().GetName(), Required: required, Limit: limit, Source: src, Attributes: req.GetAttributes(),
	}
	return run(ctx, s.jobs, volumeObject(req.GetKey()), req, func(ctx context.Context) (*targetv1.Volume, error) {
		return s.createVolume(ctx, req.GetKey().GetPool(), d, create)
	})
}

func (s *Server) createVolume(ctx context.Context, poolName string, d pool.Driver, create pool.Create) (*targetv1.Volume, error) {
	used, err := s.serials(ctx)
	if err != nil {
		return nil, err
	}
	if create.Serial, err = newSerial(used); err != nil {
		return nil, err
	}
	v, err := d.CreateVolume(ctx, create)
	if err != nil {
		return nil, err
	}
	return s.volume(poolName, v), nil
}

// serials maps those of all volumes of all pools to their names.
func (s *Server) serials(ctx context.Context) (map[string]string, error) {
	used := map[string]string{}
	for name, d := range s.pools {
		volumes, err := d.Volumes(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range volumes {
			if other, twice := used[v.Serial]; twice {
				return nil, fmt.Errorf("volumes %s and %s/%s have the same serial %s: hosts would take them for one device and destroy both; "+
					"correct the portbind.serial tag of the copy with lvchange", other, name, v.Name, v.Serial)
			}
			used[v.Serial] = name + "/" + v.Name
		}
	}
	return used, nil
}

// newSerial gives 100 random bits, as many as the NAA identifier takes.
func newSerial(used map[string]string) (string, error) {
	for {
		var b [13]byte
		if _, err := rand.Read(b[:]); err != nil {
			return "", fmt.Errorf("make a serial: %w", err)
		}
		serial := hex.EncodeToString(b[:])[:25]
		if _, taken := used[serial]; !taken {
			return serial, nil
		}
	}
}

// DeleteVolume implements the Target service.
func (s *Server) DeleteVolume(ctx context.Context, req *targetv1.DeleteVolumeRequest) (*targetv1.DeleteVolumeResponse, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	return run(ctx, s.jobs, volumeObject(k), req, func(ctx context.Context) (*targetv1.DeleteVolumeResponse, error) {
		if by := s.publishedTo(k.GetPool(), k.GetName()); len(by) > 0 {
			return nil, precondition("volume %s/%s is published to %v", k.GetPool(), k.GetName(), by)
		}
		return &targetv1.DeleteVolumeResponse{}, d.DeleteVolume(ctx, k.GetName())
	})
}

// GetVolume implements the Target service.
func (s *Server) GetVolume(ctx context.Context, req *targetv1.GetVolumeRequest) (*targetv1.Volume, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	v, err := findVolume(ctx, d, k)
	if err != nil {
		return nil, err
	}
	return s.volume(k.GetPool(), v), nil
}

func findVolume(ctx context.Context, d pool.Driver, k key) (pool.Volume, error) {
	volumes, err := d.Volumes(ctx)
	if err != nil {
		return pool.Volume{}, err
	}
	i := slices.IndexFunc(volumes, func(v pool.Volume) bool { return v.Name == k.GetName() })
	if i < 0 {
		return pool.Volume{}, notFound("no volume %s/%s", k.GetPool(), k.GetName())
	}
	return volumes[i], nil
}

// ListVolumes implements the Target service.
func (s *Server) ListVolumes(ctx context.Context, req *targetv1.ListVolumesRequest) (*targetv1.ListVolumesResponse, error) {
	var all []*targetv1.Volume
	for _, name := range s.poolNames() {
		volumes, err := s.pools[name].Volumes(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range volumes {
			all = append(all, s.volume(name, v))
		}
	}
	page, next, err := paginate(all, func(v *targetv1.Volume) key { return v.GetKey() }, req.GetMaxEntries(), req.GetToken())
	return &targetv1.ListVolumesResponse{Volumes: page, NextToken: next}, err
}

// ExpandVolume implements the Target service. The kernel's backstore sees a grown device by itself; hosts see it
// when they rescan.
func (s *Server) ExpandVolume(ctx context.Context, req *targetv1.ExpandVolumeRequest) (*targetv1.Volume, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	required, limit, err := checkSizes(req.GetRequiredBytes(), req.GetLimitBytes())
	if err != nil {
		return nil, err
	}
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	return run(ctx, s.jobs, volumeObject(k), req, func(ctx context.Context) (*targetv1.Volume, error) {
		v, err := d.ExpandVolume(ctx, k.GetName(), required, limit)
		if err != nil {
			return nil, err
		}
		return s.volume(k.GetPool(), v), nil
	})
}

// ModifyVolume implements the Target service.
func (s *Server) ModifyVolume(ctx context.Context, req *targetv1.ModifyVolumeRequest) (*targetv1.Volume, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	if err := checkAttributes(req.GetAttributes()); err != nil {
		return nil, err
	}
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	return run(ctx, s.jobs, volumeObject(k), req, func(ctx context.Context) (*targetv1.Volume, error) {
		v, err := d.SetAttributes(ctx, k.GetName(), req.GetAttributes())
		if err != nil {
			return nil, err
		}
		return s.volume(k.GetPool(), v), nil
	})
}

func (s *Server) poolNames() []string { return slices.Sorted(maps.Keys(s.pools)) }

// volume is the API's form of a volume, with who it is published to.
func (s *Server) volume(poolName string, v pool.Volume) *targetv1.Volume {
	out := &targetv1.Volume{
		Key:       &targetv1.VolumeKey{Pool: poolName, Name: v.Name},
		SizeBytes: unsigned(v.Size), Wwid: lio.WWID(v.Serial),
		Initiators: s.publishedTo(poolName, v.Name), Created: timestamppb.New(v.Created), Attributes: v.Attributes,
	}
	switch v.Source.Kind {
	case pool.FromSnapshot:
		out.SourceSnapshot = &targetv1.SnapshotKey{Pool: poolName, Name: v.Source.Name}
	case pool.FromVolume:
		out.SourceVolume = &targetv1.VolumeKey{Pool: poolName, Name: v.Source.Name}
	case pool.Empty:
	}
	return out
}

// volumeObject and snapshotObject name what jobs are about.
func volumeObject(k key) string   { return "volume " + k.GetPool() + "/" + k.GetName() }
func snapshotObject(k key) string { return "snapshot " + k.GetPool() + "/" + k.GetName() }
