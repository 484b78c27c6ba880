package driver

import (
	"context"
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/pathwatch"
)

// NodeGetVolumeHealth says whether the volume has all of its paths on this node: degraded with fewer, inaccessible with none.
func (n *Node) NodeGetVolumeHealth(
	ctx context.Context, req *csi.NodeGetVolumeHealthRequest,
) (*csi.NodeGetVolumeHealthResponse, error) {
	if err := n.checkHealthRequest(req); err != nil {
		return nil, err
	}
	view, err := n.View(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(view.Volumes, func(v pathwatch.Volume) bool { return v.ID == req.GetVolumeId() })
	if at < 0 {
		return nil, fmt.Errorf("%w: %s", errUnknownVolume, req.GetVolumeId())
	}
	health := &csi.VolumeHealth{VolumeId: req.GetVolumeId()}
	if h, ill := pathwatch.VolumeHealth(view.Volumes[at], view.Interfaces, "this node"); ill {
		kind := csi.VolumeHealthErrorType_DEGRADED
		if h.Inaccessible {
			kind = csi.VolumeHealthErrorType_INACCESSIBLE
		}
		health.HealthStatuses = []*csi.VolumeHealth_VolumeHealthEntry{{Status: kind, Reason: h.Reason, Message: h.Message}}
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
}

func (n *Node) checkHealthRequest(req *csi.NodeGetVolumeHealthRequest) error {
	if err := checkVolumeID(req.GetVolumeId()); err != nil {
		return err
	}
	for field, path := range map[string]string{
		"volume_publish_path": req.GetVolumePublishPath(), "staging_target_path": req.GetStagingTargetPath(),
	} {
		if path == "" {
			continue
		}
		if err := checkPath(field, path); err != nil {
			return err
		}
	}
	return nil
}

// NodeGetStorageHealth says whether the node's storage interfaces work, and the sessions over them: degraded when one does not,
// unreachable when none does.
func (n *Node) NodeGetStorageHealth(
	ctx context.Context, _ *csi.NodeGetStorageHealthRequest,
) (*csi.NodeGetStorageHealthResponse, error) {
	view, err := n.View(ctx)
	if err != nil {
		return nil, err
	}
	resp := &csi.NodeGetStorageHealthResponse{}
	add := func(h pathwatch.Health, ill bool) {
		if !ill {
			return
		}
		kind := csi.StorageHealthErrorType_STORAGE_DEGRADED
		if h.Inaccessible {
			kind = csi.StorageHealthErrorType_STORAGE_UNREACHABLE
		}
		resp.BackendHealth = append(resp.BackendHealth,
			&csi.NodeGetStorageHealthResponse_StorageBackendHealth{Status: kind, Reason: h.Reason, Message: h.Message})
	}
	add(pathwatch.InterfaceHealth(view.Interfaces))
	add(pathwatch.SessionHealth(view))
	return resp, nil
}
