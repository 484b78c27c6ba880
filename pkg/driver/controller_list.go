package driver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

// listed is an entry of a list with the target that it is on.
type listed[T any] struct {
	target string
	entry  T
}

// lister gives one page of one target.
type lister[T any] func(b backend.Backend, limit int, token string) (page []T, next string, err error)

// paginate lists over several targets, one after the other. A token is the target's name, a slash, and the target's
// own token. A target that does not answer fails the call: a shorter list would say that volumes are gone.
func paginate[T any](targets []Target, limit int32, token string, list lister[T]) (out []listed[T], next string, err error) {
	if limit < 0 {
		return nil, "", volume.NewFieldError("max_entries", strconv.Itoa(int(limit)), "0 or more")
	}
	first, token, err := startOf(targets, token)
	if err != nil {
		return nil, "", err
	}
	for i := first; i < len(targets); i++ {
		t := targets[i]
		room := 0
		if limit > 0 {
			if room = int(limit) - len(out); room == 0 {
				return out, t.Name + "/", nil
			}
		}
		page, rest, err := list(t.Backend, room, token)
		if err != nil {
			return nil, "", fmt.Errorf("target %q: %w", t.Name, err)
		}
		for _, e := range page {
			out = append(out, listed[T]{target: t.Name, entry: e})
		}
		if rest != "" {
			return out, t.Name + "/" + rest, nil
		}
		token = ""
	}
	return out, "", nil
}

// startOf finds the target and its own token in a token of ours.
func startOf(targets []Target, token string) (first int, rest string, err error) {
	if token == "" {
		return 0, "", nil
	}
	name, rest, ok := strings.Cut(token, "/")
	for i, t := range targets {
		if ok && t.Name == name {
			return i, rest, nil
		}
	}
	return 0, "", fmt.Errorf("starting_token: %w", backend.ErrPageToken)
}

// ListVolumes lists the volumes of all targets with the nodes that they are published to.
func (c *Controller) ListVolumes(ctx context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	list := func(b backend.Backend, limit int, token string) ([]backend.Volume, string, error) {
		return b.ListVolumes(ctx, limit, token)
	}
	volumes, next, err := paginate(c.targets, req.GetMaxEntries(), req.GetStartingToken(), list)
	if err != nil {
		return nil, err
	}
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range volumes {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{
			Volume: &csi.Volume{VolumeId: idOf(v.target, v.entry.Key).String(), CapacityBytes: v.entry.SizeBytes},
			Status: &csi.ListVolumesResponse_VolumeStatus{PublishedNodeIds: v.entry.Initiators},
		})
	}
	return resp, nil
}

// GetCapacity adds up the room of all places that the parameters allow: none for nodes without the class's interfaces.
// Kubernetes' scheduler takes a class without an answer for a full one, and would not let CreateVolume say what is wrong with
// its parameters: with wrong ones, the room is that of all places.
func (c *Controller) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	params, err := volume.ParseParameters(req.GetParameters())
	if err != nil {
		params = volume.Parameters{}
	}
	for _, capability := range req.GetVolumeCapabilities() {
		if _, err := parseCapability(capability); err != nil {
			return nil, err
		}
	}
	if err := checkSegments("accessible_topology", req.GetAccessibleTopology()); err != nil {
		return nil, err
	}
	if len(c.targets) == 0 || !has(req.GetAccessibleTopology(), params.Interfaces) {
		return &csi.GetCapacityResponse{}, nil
	}
	places, err := c.places(ctx, params.Target, params.Pool)
	if _, refused := errors.AsType[*volume.FieldError](err); refused {
		places, err = c.places(ctx, "", "")
	}
	if err != nil {
		return nil, err
	}
	return c.room(ctx, places)
}

// room of a new volume is what is free: pools are thin and would take more, but a scheduler that believed it would fill them.
func (c *Controller) room(ctx context.Context, places []place) (*csi.GetCapacityResponse, error) {
	var available, largest int64
	for _, p := range places {
		room, err := p.Backend.Capacity(ctx, p.pool)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", p.Name, err)
		}
		available += room.AvailableBytes
		largest = max(largest, min(room.MaxVolumeBytes, room.AvailableBytes))
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: available,
		MaximumVolumeSize: wrapperspb.Int64(largest),
		MinimumVolumeSize: wrapperspb.Int64(volume.MinBytes("")),
	}, nil
}
