package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/portbind/portbind/pkg/volume"
)

// withRequired refuses requests without a field that the CSI specification marks as REQUIRED. What is missing is said
// before what is not found, whatever the order of the fields.
func withRequired(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	for _, f := range requiredFields(req) {
		if !f.present {
			return nil, &volume.FieldError{Field: f.name, Value: "a missing value", Allowed: "it is required"}
		}
	}
	return next(ctx, req)
}

type field struct {
	name    string
	present bool
}

// requiredFields lists those of requests that name a volume or snapshot by its id.
func requiredFields(req any) []field {
	var all []field
	if r, ok := req.(interface{ GetVolumeId() string }); ok {
		all = append(all, field{"volume_id", r.GetVolumeId() != ""})
	}
	switch r := req.(type) {
	case *csi.ControllerPublishVolumeRequest:
		return append(all, field{"node_id", r.GetNodeId() != ""}, capabilityField(r))
	case *csi.ValidateVolumeCapabilitiesRequest:
		return append(all, field{"volume_capabilities", len(r.GetVolumeCapabilities()) > 0})
	case *csi.ControllerExpandVolumeRequest:
		return append(all, field{"capacity_range", r.GetCapacityRange() != nil})
	case *csi.NodeStageVolumeRequest:
		return append(all, field{"staging_target_path", r.GetStagingTargetPath() != ""}, capabilityField(r))
	case *csi.NodeUnstageVolumeRequest:
		return append(all, field{"staging_target_path", r.GetStagingTargetPath() != ""})
	case *csi.NodePublishVolumeRequest:
		// A missing staging_target_path has a code of its own.
		return append(all, field{"target_path", r.GetTargetPath() != ""}, capabilityField(r))
	case *csi.NodeUnpublishVolumeRequest:
		return append(all, field{"target_path", r.GetTargetPath() != ""})
	case *csi.NodeGetVolumeStatsRequest:
		return append(all, field{"volume_path", r.GetVolumePath() != ""})
	case *csi.NodeExpandVolumeRequest:
		return append(all, field{"volume_path", r.GetVolumePath() != ""})
	case *csi.CreateSnapshotRequest:
		return append(all, field{"name", r.GetName() != ""}, field{"source_volume_id", r.GetSourceVolumeId() != ""})
	}
	return all
}

func capabilityField(r interface{ GetVolumeCapability() *csi.VolumeCapability }) field {
	return field{"volume_capability", r.GetVolumeCapability() != nil}
}
