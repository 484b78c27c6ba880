package driver

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/staging"
)

// NodeStageVolume attaches the volume and, unless it is raw block, mounts it at the staging path. Each step asks
// first whether it is done already, so that a call repeated after a crash at any point ends in the same state.
func (n *Node) NodeStageVolume(ctx context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	want, chap, err := n.stageRequest(req)
	if err != nil {
		return nil, err
	}
	note, err := n.cfg.Records.Note(want.VolumeID)
	if err != nil {
		return nil, err
	}
	if err := learned(want, note); err != nil {
		return nil, err
	}
	before, err := n.begin(want)
	if err != nil {
		return nil, err
	}
	if err := n.stage(ctx, want, chap, note); err != nil {
		return nil, explain(n.undone(ctx, want, before, err))
	}
	n.move()
	return &csi.NodeStageVolumeResponse{}, nil
}

// learned fills in the WWID that an earlier stage of the volume has seen.
func learned(want *staging.Record, note staging.Note) error {
	switch have := &want.Attachment.WWID; {
	case note.WWID == "":
	case *have == "":
		*have = note.WWID
	case *have != note.WWID:
		return fmt.Errorf("%w: the volume context says %s, this node has seen %s", attach.ErrWWIDMismatch, *have, note.WWID)
	}
	return nil
}

// begin writes the record before anything is done. It returns the one that was there before.
func (n *Node) begin(want *staging.Record) (before *staging.Record, err error) {
	before, err = n.cfg.Records.Record(want.VolumeID)
	if err != nil {
		return nil, err
	}
	if before != nil {
		if err := n.compatible(before, want); err != nil {
			return nil, err
		}
		want.Published = before.Published
		want.Staged = n.current(before)
		keepLive(want, before)
		if want.Staged {
			keepPortals(want, before)
		}
		if reflect.DeepEqual(before, want) {
			return before, nil
		}
	}
	return before, n.cfg.Records.Put(want)
}

// current says whether a record speaks of a stage that was completed since the node booted.
func (n *Node) current(r *staging.Record) bool { return r.Staged && r.BootID == n.cfg.BootID }

// compatible refuses a stage that differs from the one that is there. What only says how to reach the same device may
// differ: the volume was unpublished from the node by force and published again, at another LUN.
func (n *Node) compatible(have, want *staging.Record) error {
	if !n.current(have) {
		return nil
	}
	if !have.Usage.Block {
		points, err := n.cfg.FS.At(have.StagingPath)
		if err != nil || len(points) == 0 {
			return err
		}
	}
	differ := func(field string, have, want any) error {
		return fmt.Errorf("%w: staged with %s %v, asked for is %v", errIncompatible, field, have, want)
	}
	switch {
	case have.StagingPath != want.StagingPath:
		return differ("staging_target_path", have.StagingPath, want.StagingPath)
	case !have.Usage.Equal(want.Usage):
		return differ("volume_capability", have.Usage, want.Usage)
	case want.Attachment.WWID != "" && have.Attachment.WWID != want.Attachment.WWID:
		return differ("WWID", have.Attachment.WWID, want.Attachment.WWID)
	}
	return nil
}

// stage does the work and completes the record.
func (n *Node) stage(ctx context.Context, r *staging.Record, chap *attach.CHAP, note staging.Note) error {
	dev, err := n.cfg.Attach.Attach(ctx, spec(r.Attachment, chap))
	if err != nil {
		return err
	}
	if dev.Lacks > 0 {
		defer n.poke() // when the record says that the volume is there to be healed
	}
	if note, err = n.learn(r, note, dev.WWID); err != nil {
		return err
	}
	if !r.Usage.Block {
		// Reading, mkfs and mount(2) do not end with the context while every path is dead and I/O waits. Nobody
		// uses the volume yet, so nothing is lost when that I/O fails.
		if !r.Staged {
			stop := context.AfterFunc(ctx, func() { n.failIO(context.WithoutCancel(ctx), dev.WWID) })
			defer stop()
		}
		if err := n.stageMount(ctx, r, dev, note); err != nil {
			return err
		}
	}
	if r.Staged {
		return nil
	}
	r.Staged = true
	return n.cfg.Records.Put(r)
}

// learn keeps the WWID of a volume whose owner did not say it: in the record at once, since from here on it is what
// detaches the volume, and in the note, against which every later stage is checked.
func (n *Node) learn(r *staging.Record, note staging.Note, wwid string) (staging.Note, error) {
	if r.Attachment.WWID != "" {
		return note, nil
	}
	r.Attachment.WWID, note.WWID = wwid, wwid
	return note, errors.Join(n.cfg.Records.Put(r), n.cfg.Records.PutNote(note))
}

// stageMount mounts the device at the staging path, formats it before if it is blank, and grows a file system that
// is smaller than the device.
func (n *Node) stageMount(ctx context.Context, r *staging.Record, dev attach.Device, note staging.Note) error {
	o, err := options(r.Usage)
	if err != nil {
		return err
	}
	mounted, err := n.mounted(ctx, r, dev)
	if err != nil {
		return err
	}
	var super fsmount.Superblock
	if mounted {
		super, err = n.superblock(dev.Path)
	} else {
		super, err = n.mountFresh(ctx, r, dev, note, o)
	}
	if err != nil || o.ReadOnly() || !super.Smaller(dev.SizeBytes) {
		return err
	}
	klog.FromContext(ctx).Info("Grow the file system to its device", "from", super.SizeBytes, "to", dev.SizeBytes)
	return n.cfg.FS.Grow(ctx, r.Usage.FSType, dev.Path, r.StagingPath)
}

// superblock reads what is on a mounted device.
func (n *Node) superblock(device string) (fsmount.Superblock, error) {
	found, err := n.cfg.FS.Recognize(device)
	if err != nil {
		return fsmount.Superblock{}, err
	}
	if len(found) != 1 {
		return fsmount.Superblock{}, fmt.Errorf("%w: %s has %d superblocks", fsmount.ErrDamaged, device, len(found))
	}
	return found[0], nil
}

// mounted says whether this device, in good order, is mounted at the staging path already. Anything else that is
// mounted there is taken away first and nothing is stacked upon it: a device of an earlier attachment, a file system
// that the kernel gave up.
func (n *Node) mounted(ctx context.Context, r *staging.Record, dev attach.Device) (bool, error) {
	points, err := n.cfg.FS.At(r.StagingPath)
	if err != nil || len(points) == 0 {
		return false, err
	}
	top := points[len(points)-1]
	why := fmt.Errorf("%s is mounted there", top.Source)
	if len(points) == 1 && top.Holds(dev.Major, dev.Minor) {
		if why = n.cfg.FS.Broken(top, r.Usage.ReadOnly); why == nil {
			return true, nil
		}
	}
	klog.FromContext(ctx).Info("Take away a stale mount", "path", r.StagingPath, "mounts", len(points), "reason", why.Error())
	return false, n.cfg.FS.Unmount(r.StagingPath)
}

// mountFresh puts a file system on a blank device and mounts it.
func (n *Node) mountFresh(
	ctx context.Context, r *staging.Record, dev attach.Device, note staging.Note, o fsmount.Options,
) (fsmount.Superblock, error) {
	super, err := n.prepare(ctx, r, dev, note)
	if err != nil {
		return super, err
	}
	m := fsmount.Mount{Device: dev.Path, Target: r.StagingPath, Super: super, Options: o, WWID: dev.WWID}
	if err := n.cfg.FS.Mount(ctx, m); err != nil {
		return super, err
	}
	return super, n.verify(r, dev)
}

// verify looks at what was mounted. A file system that went read-only after an error and is mounted elsewhere still,
// such as in a container, comes back read-only.
func (n *Node) verify(r *staging.Record, dev attach.Device) error {
	points, err := n.cfg.FS.At(r.StagingPath)
	if err != nil {
		return err
	}
	if len(points) != 1 || !points[0].Holds(dev.Major, dev.Minor) {
		return fmt.Errorf("%w: %s does not hold device %d:%d after mount", fsmount.ErrTarget, r.StagingPath, dev.Major, dev.Minor)
	}
	return n.cfg.FS.Broken(points[0], r.Usage.ReadOnly)
}

// prepare formats the device when that is right. The note says so from before until after mkfs: what an interrupted
// mkfs leaves is not blank.
func (n *Node) prepare(
	ctx context.Context, r *staging.Record, dev attach.Device, note staging.Note,
) (fsmount.Superblock, error) {
	p := fsmount.Prepare{Device: dev.Path, FSType: r.Usage.FSType, NeverFormat: r.Usage.ReadOnly, Began: began(note, dev.WWID)}
	p.Begin = func(uuid fsmount.UUID) error {
		note.Formatting = &staging.Formatting{WWID: dev.WWID, FSType: p.FSType, UUID: hex.EncodeToString(uuid[:])}
		return n.cfg.Records.PutNote(note)
	}
	super, err := n.cfg.FS.Prepare(ctx, p)
	if err != nil || note.Formatting == nil {
		return super, err
	}
	note.Formatting = nil
	return super, n.cfg.Records.PutNote(note)
}

// began is the identifier of the file system that an earlier call began to make on this very device.
func began(note staging.Note, wwid string) *fsmount.UUID {
	if note.Formatting == nil || note.Formatting.WWID != wwid {
		return nil
	}
	var u fsmount.UUID
	if n, err := hex.Decode(u[:], []byte(note.Formatting.UUID)); err != nil || n != len(u) {
		return nil
	}
	return &u
}

// undoTime is how long undoing may go on after the call's own time is over.
const undoTime = 20 * time.Second

// undone rolls back a stage that failed. The error says so when something is left: kubelet, after one that is not about
// time, believes that nothing is there and never unstages, unless it is told to come again.
func (n *Node) undone(ctx context.Context, r, before *staging.Record, failure error) error {
	left := n.rollBack(ctx, r, before)
	if left == nil {
		return failure
	}
	// ABORTED shows in the log at a high verbosity only: mostly it is a call that overlaps another.
	klog.FromContext(ctx).Error(left, "A failed stage could not be undone; its record is kept", "volume", r.VolumeID)
	return fmt.Errorf("%w; %w: %w", failure, errNotUndone, left)
}

// rollBack takes away what a stage has begun. When the call's time ran out before there was a device, the next call goes
// on from there. A volume that was staged before is left as it is, and so is what its record says of it.
func (n *Node) rollBack(ctx context.Context, r, before *staging.Record) error {
	switch {
	case before != nil && n.current(before):
		return n.cfg.Records.Put(before)
	case len(r.Published) > 0, ctx.Err() != nil && !n.hasDevice(ctx, r):
		return nil
	default:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		return n.unstage(ctx, r, 0)
	}
}

// hasDevice says whether the stage had come to make the device.
func (n *Node) hasDevice(ctx context.Context, r *staging.Record) bool {
	_, err := n.cfg.Attach.Inspect(context.WithoutCancel(ctx), r.Attachment.WWID)
	return err == nil
}
