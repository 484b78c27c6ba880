package driver

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/volume"
)

// NodePublishVolume makes the staged volume appear at a target path: a bind mount of the staging path, or of the
// device for raw block.
func (n *Node) NodePublishVolume(
	ctx context.Context, req *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	p, err := n.publishRequest(req)
	if err != nil {
		return nil, err
	}
	if err := n.mayPublish(p); err != nil {
		return nil, err
	}
	dev, err := n.staged(ctx, p.record)
	if err != nil {
		return nil, err
	}
	if err := n.remember(p); err != nil {
		return nil, err
	}
	if err := n.publish(p, dev); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// publication is one NodePublishVolume call.
type publication struct {
	record *staging.Record
	target string
	what   staging.Publication
}

// publishRequest reads the request. The specification has codes of its own for a missing staging path and for a
// volume that is not there.
func (n *Node) publishRequest(req *csi.NodePublishVolumeRequest) (publication, error) {
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	if err != nil {
		return publication{}, err
	}
	if err := checkPath("target_path", req.GetTargetPath()); err != nil {
		return publication{}, err
	}
	capability, err := parseCapability(req.GetVolumeCapability())
	if err != nil {
		return publication{}, err
	}
	if req.GetStagingTargetPath() == "" {
		return publication{}, fmt.Errorf("%w: staging_target_path is not set", errNotStaged)
	}
	if err := checkPath("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return publication{}, err
	}
	r, err := n.known(req.GetVolumeId())
	if err != nil {
		return publication{}, err
	}
	where, err := parseContexts(id, req.GetVolumeContext(), req.GetPublishContext())
	if err != nil {
		return publication{}, err
	}
	use, err := usage(capability, where.FSType)
	if err != nil {
		return publication{}, err
	}
	if filepath.Clean(req.GetStagingTargetPath()) != r.StagingPath {
		return publication{}, fmt.Errorf("%w at %s, but at %s", errNotStaged, req.GetStagingTargetPath(), r.StagingPath)
	}
	return publication{
		record: r, target: filepath.Clean(req.GetTargetPath()),
		what: staging.Publication{ReadOnly: req.GetReadonly() || use.ReadOnly, Usage: use},
	}, nil
}

// parseContexts reads the volume context, and checks the publish context of a controller that gives one.
func parseContexts(id volume.ID, volumeContext, publishContext map[string]string) (volume.Context, error) {
	if len(publishContext) > 0 {
		if _, err := volume.ParsePublishContext(publishContext); err != nil {
			return volume.Context{}, err
		}
	}
	return volume.ParseContext(id, volumeContext)
}

// known returns the record of a volume.
func (n *Node) known(volumeID string) (*staging.Record, error) {
	r, err := n.cfg.Records.Record(volumeID)
	if err == nil && r == nil {
		err = fmt.Errorf("%w: %s", errUnknownVolume, volumeID)
	}
	return r, err
}

// mayPublish is the specification's table of second publications.
func (n *Node) mayPublish(p publication) error {
	r := p.record
	if have, ok := r.Published[p.target]; ok && (have.ReadOnly != p.what.ReadOnly || !have.Usage.Equal(p.what.Usage)) {
		points, err := n.cfg.FS.At(p.target)
		if err != nil {
			return err
		}
		if len(points) > 0 {
			return fmt.Errorf("%w: published at %s with %+v, asked for is %+v", errIncompatible, p.target, have, p.what)
		}
	}
	if !r.Usage.Equal(p.what.Usage) {
		return fmt.Errorf("%w with %+v, asked for is %+v", errNotStaged, r.Usage, p.what.Usage)
	}
	if manyTargets(r.Usage.AccessMode) {
		return nil
	}
	for _, other := range slices.Sorted(maps.Keys(r.Published)) {
		points, err := n.cfg.FS.At(other)
		if err != nil {
			return err
		}
		if other != p.target && len(points) > 0 {
			return fmt.Errorf("%w: %s, and the volume is at %s", errOneTarget, r.Usage.AccessMode, other)
		}
	}
	return nil
}

// manyTargets says whether an access mode allows more than one target path on a node.
func manyTargets(mode string) bool {
	switch csi.VolumeCapability_AccessMode_Mode(csi.VolumeCapability_AccessMode_Mode_value[mode]) {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER,
		csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
		return true
	default:
		return false
	}
}

// staged returns the device of a volume whose stage was completed and is still in order.
func (n *Node) staged(ctx context.Context, r *staging.Record) (attach.Device, error) {
	if !n.current(r) {
		return attach.Device{}, fmt.Errorf("%w: the stage was not completed, or the node has booted since", errNotStaged)
	}
	dev, err := n.cfg.Attach.Inspect(ctx, r.Attachment.WWID)
	if err != nil || r.Usage.Block {
		return dev, err
	}
	points, err := n.cfg.FS.At(r.StagingPath)
	if err != nil {
		return dev, err
	}
	if len(points) == 0 || !points[len(points)-1].Holds(dev.Major, dev.Minor) {
		return dev, fmt.Errorf("%w: %s does not hold its file system", errNotStaged, r.StagingPath)
	}
	return dev, n.cfg.FS.Broken(points[len(points)-1], r.Usage.ReadOnly)
}

// remember writes the publication into the record, before it is made. Those that are gone, by a reboot or by
// somebody's umount, are forgotten.
func (n *Node) remember(p publication) error {
	r := p.record
	if have, ok := r.Published[p.target]; ok && have.ReadOnly == p.what.ReadOnly && have.Usage.Equal(p.what.Usage) {
		return nil
	}
	if r.Published == nil {
		r.Published = map[string]staging.Publication{}
	}
	r.Published[p.target] = p.what
	return n.cfg.Records.Put(r)
}

// publish makes the bind mount, unless it is there. What else is mounted at the target is stale and goes.
func (n *Node) publish(p publication, dev attach.Device) error {
	var o fsmount.Options
	if !p.record.Usage.Block {
		var err error
		if o, err = options(p.record.Usage); err != nil {
			return err
		}
	}
	if p.what.ReadOnly {
		o = o.WithReadOnly()
	}
	points, err := n.cfg.FS.At(p.target)
	if err != nil {
		return err
	}
	if len(points) == 1 && points[0].Covers(o) && n.isPublished(p, points[0], dev) {
		return nil
	}
	if err := n.cfg.FS.Unmount(p.target); err != nil {
		return err
	}
	if p.record.Usage.Block {
		return n.cfg.FS.BindDevice(dev.Path, p.target, dev.Major, dev.Minor, o.ReadOnly())
	}
	return n.cfg.FS.BindDir(p.record.StagingPath, p.target, o)
}

// isPublished says whether what is mounted at the target is this volume.
func (n *Node) isPublished(p publication, at fsmount.Point, dev attach.Device) bool {
	if p.record.Usage.Block {
		return n.cfg.FS.IsDevice(p.target, dev.Major, dev.Minor)
	}
	return at.Holds(dev.Major, dev.Minor)
}

// NodeUnpublishVolume takes the volume away from a target path and deletes what was created there.
func (n *Node) NodeUnpublishVolume(
	_ context.Context, req *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := checkVolumeID(req.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := checkPath("target_path", req.GetTargetPath()); err != nil {
		return nil, err
	}
	target := filepath.Clean(req.GetTargetPath())
	r, err := n.cfg.Records.Record(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if err := n.cfg.FS.RemoveTarget(target); err != nil {
		return nil, err
	}
	if r != nil {
		if _, ok := r.Published[target]; ok {
			delete(r.Published, target)
			if err := n.cfg.Records.Put(r); err != nil {
				return nil, err
			}
		}
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
