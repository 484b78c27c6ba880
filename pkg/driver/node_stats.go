package driver

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/staging"
)

// NodeGetVolumeStats gives the usage of the file system, or the size of the raw block device.
func (n *Node) NodeGetVolumeStats(
	ctx context.Context, req *csi.NodeGetVolumeStatsRequest,
) (*csi.NodeGetVolumeStatsResponse, error) {
	r, err := n.atStatsPath(ctx, req.GetVolumeId(), req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	if r.Usage.Block {
		return n.blockStats(ctx, r)
	}
	points, err := n.cfg.FS.At(req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	if len(points) == 0 {
		return nil, fmt.Errorf("%w: nothing is mounted at %s", errUnknownVolume, filepath.Clean(req.GetVolumePath()))
	}
	u, err := n.cfg.FS.Usage(req.GetVolumePath())
	if err != nil {
		return nil, err
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: volumeUsage(u)}, nil
}

// atStatsPath is atPath for kubelet, which asks after a raw block volume at a path of its own making: there it has bound the
// device once more, and the device is known by its number.
func (n *Node) atStatsPath(ctx context.Context, volumeID, path string) (*staging.Record, error) {
	r, err := n.atPath(volumeID, path)
	if !errors.Is(err, errUnknownVolume) || checkPath("volume_path", path) != nil {
		return r, err
	}
	known, recordErr := n.known(volumeID)
	if recordErr != nil || !known.Usage.Block {
		return nil, err
	}
	dev, inspectErr := n.cfg.Attach.Inspect(ctx, known.Attachment.WWID)
	if inspectErr != nil || !n.cfg.FS.IsDevice(path, dev.Major, dev.Minor) {
		return nil, err
	}
	return known, nil
}

// blockStats knows only the size: what of it is used the owner of the content knows.
func (n *Node) blockStats(ctx context.Context, r *staging.Record) (*csi.NodeGetVolumeStatsResponse, error) {
	dev, err := n.cfg.Attach.Inspect(ctx, r.Attachment.WWID)
	if errors.Is(err, attach.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", errUnknownVolume, err)
	}
	if err != nil {
		return nil, err
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: dev.SizeBytes},
	}}, nil
}

// volumeUsage leaves inodes out where a file system does not count them.
func volumeUsage(u fsmount.Usage) []*csi.VolumeUsage {
	usage := []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: u.TotalBytes, Used: u.UsedBytes, Available: u.AvailableBytes},
	}
	if u.TotalInodes > 0 {
		usage = append(usage, &csi.VolumeUsage{
			Unit: csi.VolumeUsage_INODES, Total: u.TotalInodes, Used: u.UsedInodes, Available: u.AvailableInodes,
		})
	}
	return usage
}
