package driver

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/volume"
)

// stageRequest turns a NodeStageVolume request into the record of it, and the CHAP secrets, which are in no record.
func (n *Node) stageRequest(req *csi.NodeStageVolumeRequest) (*staging.Record, *attach.CHAP, error) {
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, nil, err
	}
	if err := checkPath("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return nil, nil, err
	}
	capability, err := parseCapability(req.GetVolumeCapability())
	if err != nil {
		return nil, nil, err
	}
	where, err := parseContexts(id, req.GetVolumeContext(), req.GetPublishContext())
	if err != nil {
		return nil, nil, err
	}
	use, err := usage(capability, where.FSType)
	if err != nil {
		return nil, nil, err
	}
	attachment, err := n.attachment(where, req.GetPublishContext())
	if err != nil {
		return nil, nil, err
	}
	chap, err := volume.ParseCHAP(req.GetSecrets())
	if err != nil {
		return nil, nil, err
	}
	return &staging.Record{
		VolumeID: req.GetVolumeId(), StagingPath: filepath.Clean(req.GetStagingTargetPath()),
		Usage: use, Attachment: attachment, Claim: staging.Claim(where.Claim), BootID: n.cfg.BootID,
	}, (*attach.CHAP)(chap), nil
}

// attachment takes the LUN from the publish context, or for a static volume from the volume context.
func (n *Node) attachment(where volume.Context, publish map[string]string) (staging.Attachment, error) {
	a := staging.Attachment{
		Target: where.IQN, Portals: where.Portals, WWID: where.WWID, Interfaces: where.Interfaces,
		Pairing: where.Pairing, MinPaths: where.MinPaths, Initiator: n.cfg.Initiator,
	}
	if where.LUN != nil {
		a.LUN, a.Policy = *where.LUN, staging.Policy(where.Policy)
		return a, nil
	}
	parsed, err := volume.ParsePublishContext(publish)
	a.LUN, a.Policy = parsed.LUN, staging.Policy(parsed.Policy)
	return a, err
}

// usage turns a capability into what a record has of it. The file system of the volume context counts when the
// capability names none.
func usage(c volume.Capability, classFSType string) (staging.Usage, error) {
	use := staging.Usage{Block: c.Block, AccessMode: accessModeName(c.Mode), ReadOnly: c.ReadOnly()}
	if c.Block {
		return use, nil
	}
	fsType, err := volume.ResolveFSType(classFSType, c.FSType)
	if err != nil {
		return staging.Usage{}, err
	}
	use.FSType, use.MountOptions = fsType, c.MountOptions
	_, err = fsmount.ParseOptions(c.MountOptions)
	return use, err
}

// accessModeName is CSI's name of an access mode.
func accessModeName(mode volume.AccessMode) string {
	for name, m := range accessModes {
		if m == mode {
			return name.String()
		}
	}
	return csi.VolumeCapability_AccessMode_UNKNOWN.String()
}

// spec is the attachment with the secrets of this call; without them heal relies on the session records.
func spec(a staging.Attachment, chap *attach.CHAP) attach.Spec {
	return attach.Spec{
		Target: a.Target, Portals: a.Portals, LUN: a.LUN, WWID: a.WWID, Interfaces: a.Interfaces,
		Pairing: a.Pairing, MinPaths: a.MinPaths, Initiator: a.Initiator, CHAP: chap,
		Policy: attach.Policy(a.Policy),
	}
}

// checkVolumeID refuses an id that is missing or hostile; one of another form is a volume that this node does not have.
func checkVolumeID(id string) error {
	_, err := volume.ParseVolumeID(id)
	return err
}

// checkPath refuses what is not an absolute, plain path.
func checkPath(field, path string) error {
	const allowed = "an absolute path without .. and control characters"
	if path == "" {
		return &volume.FieldError{Field: field, Value: "a missing value", Allowed: allowed}
	}
	bad := func(r rune) bool { return r < ' ' || r == 0x7f }
	clean := filepath.Clean(path)
	if !filepath.IsAbs(path) || len(path) > 4095 || strings.ContainsFunc(path, bad) || clean == "/" ||
		(clean != path && clean+"/" != path) {
		return volume.NewFieldError(field, path, allowed)
	}
	return nil
}

// options are the mount options of a record.
func options(u staging.Usage) (fsmount.Options, error) {
	o, err := fsmount.ParseOptions(u.MountOptions)
	if err != nil {
		return o, fmt.Errorf("mount_flags: %w", err)
	}
	if u.ReadOnly {
		o = o.WithReadOnly()
	}
	return o, nil
}
