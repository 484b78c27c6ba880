package driver

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/volume"
)

// NodeExpandVolume makes the device, and the file system on it, as large as the target's volume, while it is used.
func (n *Node) NodeExpandVolume(ctx context.Context, req *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	r, err := n.atPath(req.GetVolumeId(), req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	if c := req.GetVolumeCapability(); c != nil {
		if _, err := parseCapability(c); err != nil {
			return nil, err
		}
	}
	if _, err := n.staged(ctx, r); err != nil {
		return nil, err
	}
	dev, err := n.cfg.Attach.Resize(ctx, r.Attachment.WWID)
	if err != nil {
		return nil, err
	}
	if required := req.GetCapacityRange().GetRequiredBytes(); dev.SizeBytes < required {
		return nil, &volume.FieldError{
			Field: "capacity_range.required_bytes", Value: fmt.Sprint(required), Err: volume.ErrOutOfRange,
			Allowed: fmt.Sprintf("at most %d, the size that the target reports; expand the volume there first", dev.SizeBytes),
		}
	}
	if !r.Usage.Block && !r.Usage.ReadOnly {
		if err := n.cfg.FS.Grow(ctx, r.Usage.FSType, dev.Path, r.StagingPath); err != nil {
			return nil, explain(err)
		}
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: dev.SizeBytes}, nil
}

// atPath returns the record of a volume that is staged or published at the path, as NodeGetVolumeStats and
// NodeExpandVolume have it.
func (n *Node) atPath(volumeID, path string) (*staging.Record, error) {
	if err := checkVolumeID(volumeID); err != nil {
		return nil, err
	}
	r, err := n.known(volumeID)
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(path) && checkPath("volume_path", "/"+path) == nil {
		// Harmless, and not a path that anything was published at.
		return nil, fmt.Errorf("%w: %s is not at volume_path %.64q", errUnknownVolume, volumeID, path)
	}
	if err := checkPath("volume_path", path); err != nil {
		return nil, err
	}
	clean := filepath.Clean(path)
	if _, published := r.Published[clean]; !published && clean != r.StagingPath {
		return nil, fmt.Errorf("%w: %s is not at volume_path %.64q", errUnknownVolume, volumeID, path)
	}
	return r, nil
}
