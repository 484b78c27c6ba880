package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

// createPlan is a CreateVolumeRequest as typed values.
type createPlan struct {
	name       string
	parameters volume.Parameters
	// policy is that of the parameters with the mutable ones on top.
	policy volume.Policy
	size   volume.Size
	// At most one is set.
	snapshot, volume *volume.ID
}

// source is what the volume is made from, if anything.
func (p createPlan) source() *volume.ID {
	if p.snapshot != nil {
		return p.snapshot
	}
	return p.volume
}

// CreateVolume makes a volume, or finds the one that an earlier try made. Nothing is made unless all fields are right.
func (c *Controller) CreateVolume(ctx context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	plan, err := parseCreate(req)
	if err != nil {
		return nil, err
	}
	if err := plan.parameters.CheckInterfaces(c.interfaces); err != nil {
		return nil, err
	}
	if err := plan.checkPreferred(c.interfaces); err != nil {
		return nil, err
	}
	if err := checkTopology(req.GetAccessibilityRequirements(), plan.parameters.Interfaces); err != nil {
		return nil, err
	}
	where, err := c.placeFor(ctx, plan)
	if err != nil {
		return nil, err
	}
	if err := plan.parameters.CheckPaths(len(where.info.Portals)); err != nil {
		return nil, err
	}
	made, err := where.Backend.CreateVolume(ctx, plan.request(where.pool))
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", where.Name, err)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:           idOf(where.Name, made.Key).String(),
		CapacityBytes:      made.SizeBytes,
		VolumeContext:      contextOf(plan.parameters, where.info, made).Map(),
		ContentSource:      req.GetVolumeContentSource(),
		AccessibleTopology: accessibleFrom(plan.parameters.Interfaces),
	}}, nil
}

func (c *Controller) placeFor(ctx context.Context, plan createPlan) (place, error) {
	if source := plan.source(); source != nil {
		return c.placeOf(ctx, *source, plan.parameters)
	}
	places, err := c.places(ctx, plan.parameters.Target, plan.parameters.Pool)
	if err != nil {
		return place{}, err
	}
	return choose(ctx, places, plan.name, plan.size.Required)
}

func (p createPlan) request(pool string) backend.CreateVolume {
	req := backend.CreateVolume{
		Key:           backend.Key{Pool: pool, Name: p.name},
		RequiredBytes: p.size.Required, LimitBytes: p.size.Limit,
		Attributes: p.policy.Attributes(),
	}
	if p.snapshot != nil {
		key := keyOf(*p.snapshot)
		req.SourceSnapshot = &key
	}
	if p.volume != nil {
		key := keyOf(*p.volume)
		req.SourceVolume = &key
	}
	return req
}

// contextOf is what nodes need to know to reach the volume.
func contextOf(p volume.Parameters, target backend.Target, v backend.Volume) volume.Context {
	out := p.Context()
	out.IQN, out.Portals, out.WWID = target.IQN, target.Portals, v.WWID
	return out
}

func parseCreate(req *csi.CreateVolumeRequest) (createPlan, error) {
	name, err := volume.MapName(req.GetName())
	if err != nil {
		return createPlan{}, err
	}
	// Before the capabilities: Kubernetes' provisioner makes the file system's type of one of them from a parameter.
	params, err := volume.ParseParameters(req.GetParameters())
	if err != nil {
		return createPlan{}, err
	}
	caps, err := parseCapabilities(req.GetVolumeCapabilities())
	if err != nil {
		return createPlan{}, err
	}
	policy, err := volume.ParseMutableParameters(params.Policy, req.GetMutableParameters())
	if err != nil {
		return createPlan{}, err
	}
	least, err := leastBytes(params, caps)
	if err != nil {
		return createPlan{}, err
	}
	size, err := volume.ParseSize(req.GetCapacityRange().GetRequiredBytes(), req.GetCapacityRange().GetLimitBytes(), least)
	if err != nil {
		return createPlan{}, err
	}
	plan := createPlan{name: name, parameters: params, policy: policy, size: size}
	return plan, plan.parseSource(req.GetVolumeContentSource())
}

// checkPreferred names the field that the preferred interface is from.
func (p createPlan) checkPreferred(known []string) error {
	field := "parameters"
	if p.policy.PreferredInterface != p.parameters.Policy.PreferredInterface {
		field = "mutable_parameters"
	}
	return p.policy.CheckInterface(field, p.parameters.Interfaces, known)
}

// leastBytes is the least size at which the file systems asked for can be made.
func leastBytes(p volume.Parameters, caps []volume.Capability) (int64, error) {
	least := volume.MinBytes("")
	for _, c := range caps {
		if c.Block {
			continue
		}
		fsType, err := volume.ResolveFSType(p.FSType, c.FSType)
		if err != nil {
			return 0, err
		}
		least = max(least, volume.MinBytes(fsType))
	}
	return least, nil
}

func (p *createPlan) parseSource(source *csi.VolumeContentSource) error {
	if source == nil {
		return nil
	}
	switch s := source.GetType().(type) {
	case *csi.VolumeContentSource_Snapshot:
		id, err := volume.ParseSnapshotID(s.Snapshot.GetSnapshotId())
		p.snapshot = &id
		return err
	case *csi.VolumeContentSource_Volume:
		id, err := volume.ParseVolumeID(s.Volume.GetVolumeId())
		if err == nil && id.IsStatic() {
			return volume.NewFieldError("volume_content_source.volume.volume_id", id.String(), "a volume made by this driver")
		}
		p.volume = &id
		return err
	default:
		return &volume.FieldError{Field: "volume_content_source", Value: "an unknown type", Allowed: "snapshot or volume"}
	}
}

// DeleteVolume deletes; what does not exist, or never could, is deleted already.
func (c *Controller) DeleteVolume(ctx context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	if errors.Is(err, volume.ErrForeign) {
		return &csi.DeleteVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, err
	}
	if err := b.DeleteVolume(ctx, keyOf(id)); err != nil {
		return nil, err
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ControllerExpandVolume grows a volume. Nodes must follow, for raw block volumes too: every path is rescanned.
func (c *Controller) ControllerExpandVolume(
	ctx context.Context, req *csi.ControllerExpandVolumeRequest,
) (*csi.ControllerExpandVolumeResponse, error) {
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if capability := req.GetVolumeCapability(); capability != nil {
		if _, err := parseCapability(capability); err != nil {
			return nil, err
		}
	}
	capacity := req.GetCapacityRange()
	if capacity.GetRequiredBytes() == 0 && capacity.GetLimitBytes() == 0 {
		return nil, &volume.FieldError{Field: "capacity_range", Value: "a missing value", Allowed: "required_bytes or limit_bytes"}
	}
	size, err := volume.ParseSize(capacity.GetRequiredBytes(), capacity.GetLimitBytes(), 0)
	if err != nil {
		return nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, err
	}
	grown, err := b.ExpandVolume(ctx, keyOf(id), size.Required, size.Limit)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: grown.SizeBytes, NodeExpansionRequired: true}, nil
}

// ControllerGetVolume tells a volume's size and the nodes that it is published to.
func (c *Controller) ControllerGetVolume(
	ctx context.Context, req *csi.ControllerGetVolumeRequest,
) (*csi.ControllerGetVolumeResponse, error) {
	id, v, err := c.lookUp(ctx, req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeResponse{
		Volume: &csi.Volume{VolumeId: id.String(), CapacityBytes: v.SizeBytes},
		Status: &csi.ControllerGetVolumeResponse_VolumeStatus{PublishedNodeIds: v.Initiators},
	}, nil
}

// lookUp finds a volume that must exist.
func (c *Controller) lookUp(ctx context.Context, volumeID string) (volume.ID, backend.Volume, error) {
	id, err := volume.ParseVolumeID(volumeID)
	if err != nil {
		return volume.ID{}, backend.Volume{}, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return volume.ID{}, backend.Volume{}, err
	}
	v, err := b.Volume(ctx, keyOf(id))
	return id, v, err
}
