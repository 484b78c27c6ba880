package driver

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/volume"
)

// ControllerModifyVolume changes the path policy that is kept with a volume. Nodes learn of it when the volume is published to
// them next, or from Kubernetes (FollowClasses). What a request does not name stays as it is.
func (c *Controller) ControllerModifyVolume(
	ctx context.Context, req *csi.ControllerModifyVolumeRequest,
) (*csi.ControllerModifyVolumeResponse, error) {
	id, v, err := c.lookUp(ctx, req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	have, err := volume.ParseAttributes(v.Attributes)
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", id, err)
	}
	want, err := volume.ParseMutableParameters(have, req.GetMutableParameters())
	if err != nil {
		return nil, err
	}
	if err := want.CheckInterface("mutable_parameters", nil, c.interfaces); err != nil {
		return nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, err
	}
	if _, err := b.SetAttributes(ctx, keyOf(id), want.Attributes()); err != nil {
		return nil, err
	}
	return &csi.ControllerModifyVolumeResponse{}, nil
}
