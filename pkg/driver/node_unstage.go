package driver

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/staging"
)

// NodeUnstageVolume undoes NodeStageVolume from the record alone. Without one there is at most a mount to take away.
func (n *Node) NodeUnstageVolume(
	ctx context.Context, req *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	if err := checkVolumeID(req.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := checkPath("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	path := filepath.Clean(req.GetStagingTargetPath())
	r, err := n.cfg.Records.Record(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	switch {
	case r == nil:
		err = n.cfg.FS.Unmount(path)
	case r.StagingPath != path:
		// Not staged at that path: OK by the specification. The record is of another one, which stays.
		err = n.cfg.FS.Unmount(path)
	default:
		err = n.unstageChecked(ctx, r)
	}
	if err != nil {
		return nil, explain(err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// unstageChecked refuses while a publication is mounted: the device could not be taken away below it.
func (n *Node) unstageChecked(ctx context.Context, r *staging.Record) error {
	var still []string
	for _, target := range slices.Sorted(maps.Keys(r.Published)) {
		points, err := n.cfg.FS.At(target)
		if err != nil {
			return err
		}
		if len(points) > 0 {
			still = append(still, target)
		}
	}
	if len(still) > 0 {
		return fmt.Errorf("%w at %s", errPublished, strings.Join(still, ", "))
	}
	return n.unstage(ctx, r)
}

// unstage unmounts, detaches and, when nothing is left, forgets.
func (n *Node) unstage(ctx context.Context, r *staging.Record) error {
	if err := n.cfg.FS.Unmount(r.StagingPath); err != nil {
		return err
	}
	if r.Attachment.WWID != "" {
		if err := n.cfg.Attach.Detach(ctx, r.Attachment.WWID); err != nil {
			return err
		}
	}
	return n.cfg.Records.Delete(r.VolumeID)
}
