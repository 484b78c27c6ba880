package driver

import (
	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/volume"
)

// accessModes are CSI's access modes as pkg/volume has them.
var accessModes = map[csi.VolumeCapability_AccessMode_Mode]volume.AccessMode{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER:        volume.SingleNodeWriter,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:   volume.SingleNodeReaderOnly,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER: volume.SingleNodeSingleWriter,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:  volume.SingleNodeMultiWriter,
	csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:    volume.MultiNodeReaderOnly,
	csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER:  volume.MultiNodeSingleWriter,
	csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:   volume.MultiNodeMultiWriter,
}

// parseCapability reads and checks one capability. Errors are *volume.FieldError.
func parseCapability(c *csi.VolumeCapability) (volume.Capability, error) {
	out := volume.Capability{Mode: accessModes[c.GetAccessMode().GetMode()]}
	switch access := c.GetAccessType().(type) {
	case *csi.VolumeCapability_Block:
		out.Block = true
	case *csi.VolumeCapability_Mount:
		out.FSType, out.MountOptions = access.Mount.GetFsType(), access.Mount.GetMountFlags()
		if access.Mount.GetVolumeMountGroup() != "" {
			return volume.Capability{}, volume.NewFieldError(
				"volume_capability.mount.volume_mount_group", access.Mount.GetVolumeMountGroup(), "none")
		}
	default:
		return volume.Capability{}, &volume.FieldError{
			Field: "volume_capability", Value: "no access type", Allowed: "block or mount",
		}
	}
	return out, out.Check()
}

// parseCapabilities reads the capabilities of one volume; at least one is needed.
func parseCapabilities(cs []*csi.VolumeCapability) ([]volume.Capability, error) {
	if len(cs) == 0 {
		return nil, &volume.FieldError{
			Field: "volume_capabilities", Value: "a missing value", Allowed: "at least one capability",
		}
	}
	out := make([]volume.Capability, len(cs))
	for i, c := range cs {
		parsed, err := parseCapability(c)
		if err != nil {
			return nil, err
		}
		out[i] = parsed
	}
	return out, nil
}
