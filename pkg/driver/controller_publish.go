package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/backend/static"
	"github.com/portbind/portbind/pkg/volume"
)

// ControllerPublishVolume makes the volume a LUN of the node, whose id is its initiator name.
func (c *Controller) ControllerPublishVolume(
	ctx context.Context, req *csi.ControllerPublishVolumeRequest,
) (*csi.ControllerPublishVolumeResponse, error) {
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	publish, err := parsePublish(req)
	if err != nil {
		return nil, err
	}
	publish.Key = keyOf(id)
	b, err := c.publisher(id, req.GetVolumeContext())
	if err != nil {
		return nil, err
	}
	export, err := b.Publish(ctx, publish)
	if err != nil {
		return nil, err
	}
	policy, err := volume.ParseAttributes(export.Attributes)
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", id, err)
	}
	return &csi.ControllerPublishVolumeResponse{
		PublishContext: volume.PublishContext{LUN: export.LUN, Policy: policy}.Map(),
	}, nil
}

// publisher is the backend of a volume; that of a static one knows the LUN from the volume attributes.
func (c *Controller) publisher(id volume.ID, attributes map[string]string) (backend.Backend, error) {
	if !id.IsStatic() && len(attributes) == 0 {
		return c.backendOf(id)
	}
	// Of our own volumes the target knows more than the attributes say; they are checked so that the node will not have
	// to refuse them.
	vc, err := volume.ParseContext(id, attributes)
	if err != nil {
		return nil, err
	}
	if !id.IsStatic() {
		return c.backendOf(id)
	}
	return static.Backend{LUN: *vc.LUN}, nil
}

func parsePublish(req *csi.ControllerPublishVolumeRequest) (backend.Publish, error) {
	node, err := volume.ParseNodeID(req.GetNodeId())
	if err != nil {
		return backend.Publish{}, err
	}
	capability, err := parseCapability(req.GetVolumeCapability())
	if err != nil {
		return backend.Publish{}, err
	}
	chap, err := volume.ParseCHAP(req.GetSecrets())
	if err != nil {
		return backend.Publish{}, err
	}
	return backend.Publish{
		Initiator: node,
		CHAP:      (*backend.CHAP)(chap),
		ReadOnly:  req.GetReadonly() || capability.ReadOnly(),
		Shared:    capability.Shared(),
	}, nil
}

// ControllerUnpublishVolume fences: once it has succeeded, nothing of the node (of any, without a node id) can land
// on the volume. What does not exist, or never could, is not published.
func (c *Controller) ControllerUnpublishVolume(
	ctx context.Context, req *csi.ControllerUnpublishVolumeRequest,
) (*csi.ControllerUnpublishVolumeResponse, error) {
	done := &csi.ControllerUnpublishVolumeResponse{}
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	node := ""
	if err == nil && req.GetNodeId() != "" {
		node, err = volume.ParseNodeID(req.GetNodeId())
	}
	if errors.Is(err, volume.ErrForeign) {
		return done, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, err
	}
	if err := b.Unpublish(ctx, keyOf(id), node); err != nil {
		return nil, err
	}
	return done, nil
}

// ValidateVolumeCapabilities confirms capabilities, or says which one is not supported and why.
func (c *Controller) ValidateVolumeCapabilities(
	ctx context.Context, req *csi.ValidateVolumeCapabilitiesRequest,
) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if _, _, err := c.lookUp(ctx, req.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := checkUse(id, req); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: oneLine(err.Error())}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext:      req.GetVolumeContext(),
		VolumeCapabilities: req.GetVolumeCapabilities(),
		Parameters:         req.GetParameters(),
		MutableParameters:  req.GetMutableParameters(),
	}}, nil
}

// checkUse refuses capabilities, parameters and attributes that do not go together.
func checkUse(id volume.ID, req *csi.ValidateVolumeCapabilitiesRequest) error {
	caps, err := parseCapabilities(req.GetVolumeCapabilities())
	if err != nil {
		return err
	}
	params, err := volume.ParseParameters(req.GetParameters())
	if err != nil {
		return err
	}
	if len(req.GetVolumeContext()) > 0 {
		if _, err := volume.ParseContext(id, req.GetVolumeContext()); err != nil {
			return err
		}
	}
	if _, err := volume.ParseMutableParameters(params.Policy, req.GetMutableParameters()); err != nil {
		return err
	}
	_, err = leastBytes(params, caps)
	return err
}
