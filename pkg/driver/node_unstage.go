package driver

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/staging"
)

// NodeUnstageVolume undoes NodeStageVolume from the record alone. Without one, what is mounted says what to take away.
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
		err = n.unstageUnknown(ctx, path)
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
	return n.unstage(ctx, r, unmountPatience)
}

// unstageUnknown undoes a stage whose record is lost. The device is known by what is mounted at the staging path.
func (n *Node) unstageUnknown(ctx context.Context, path string) error {
	points, err := n.cfg.FS.At(path)
	if err != nil || len(points) == 0 {
		return err
	}
	wwids := map[string]bool{}
	for _, p := range points {
		if major, minor, ok := p.Device(); ok {
			if wwid, ok := n.cfg.Attach.VolumeAt(major, minor); ok {
				wwids[wwid] = true
			}
		}
	}
	if err := n.cfg.FS.Unmount(path); err != nil {
		return err
	}
	for wwid := range wwids {
		if err := n.cfg.Attach.Detach(ctx, wwid); err != nil {
			return err
		}
	}
	return nil
}

// unstage unmounts, detaches and, when nothing is left, forgets.
func (n *Node) unstage(ctx context.Context, r *staging.Record, patience time.Duration) error {
	if err := n.unmount(ctx, r, patience); err != nil {
		return err
	}
	if r.Attachment.WWID != "" {
		if err := n.cfg.Attach.Detach(ctx, r.Attachment.WWID); err != nil {
			return err
		}
	}
	defer n.move()
	return n.cfg.Records.Delete(r.VolumeID)
}

const (
	// unmountPatience is how long an unmount may wait for a path to come back. What was not synced is lost after it.
	unmountPatience = 45 * time.Second
	// unmountReserve is what of the call's time is kept for what follows.
	unmountReserve = 10 * time.Second
)

// unmount unmounts the staging path. While all paths are dead it waits with the I/O that writes the rest, and for as
// long as the caller has patience nothing is lost when a path comes back; after that the I/O fails, and it ends.
func (n *Node) unmount(ctx context.Context, r *staging.Record, patience time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok {
		patience = max(0, min(patience, time.Until(deadline)-unmountReserve))
	}
	fail := func() { n.failIO(context.WithoutCancel(ctx), r.Attachment.WWID) }
	if patience == 0 {
		fail()
	} else {
		timer := time.AfterFunc(patience, fail)
		defer timer.Stop()
	}
	return n.cfg.FS.Unmount(r.StagingPath)
}

// failIO lets waiting I/O fail when no path works.
func (n *Node) failIO(ctx context.Context, wwid string) {
	if wwid == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, unmountReserve)
	defer cancel()
	if err := n.cfg.Attach.FailIO(ctx, wwid); err != nil {
		klog.FromContext(ctx).Error(err, "I/O that waits for a path could not be ended", "wwid", wwid)
	}
}
