package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/staging"
)

const (
	testID      = "storage/pool/vol-1"
	testStaging = "/kubelet/staging/vol-1"
	testTarget  = "/kubelet/pods/p1/mount"
)

// rig is a node service with its fakes.
type rig struct {
	*Node
	*host
	dir   string
	store *staging.Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{host: newHost(), dir: t.TempDir()}
	var err error
	if r.store, err = staging.Open(r.dir); err != nil {
		t.Fatal(err)
	}
	r.boot("boot-1")
	return r
}

// boot replaces the service, as an upgrade or, with another id, a reboot does.
func (r *rig) boot(id string) {
	r.Node = NewNode(NodeOptions{Initiator: "iqn.2026-11.io.portbind:n1", BootID: id, Interfaces: interfaces, Attach: r.host, FS: r.host, Records: r.store})
}

// interfaces is a node that has lost its second NIC.
func interfaces() (binding.Resolution, error) {
	return binding.Resolution{
		Interfaces: []binding.Interface{{Name: "san-a", NIC: "eth2"}},
		Problems:   []binding.Problem{{Interface: "san-b", Err: binding.ErrMissing}},
	}, nil
}

// code is what a CSI client would see.
func code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	return codeOf(err, slices.Concat(NodeRules(), commonRules))
}

func mountCapability(mode csi.VolumeCapability_AccessMode_Mode, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: flags}},
	}
}

func blockCapability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
	}
}

const (
	writer       = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	singleWriter = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	multiWriter  = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	readers      = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
)

func stageRequest(change ...func(*csi.NodeStageVolumeRequest)) *csi.NodeStageVolumeRequest {
	req := &csi.NodeStageVolumeRequest{
		VolumeId: testID, StagingTargetPath: testStaging, VolumeCapability: mountCapability(writer),
		PublishContext: map[string]string{"lun": "1"},
		VolumeContext: map[string]string{
			"iqn": "iqn.2026-11.io.example:t1", "portals": "192.0.2.1:3260,192.0.2.2:3260",
			"wwid": "naa.6001405000000000000000000000001a", "interfaces": "san-a,san-b", "minPaths": "2",
		},
	}
	for _, c := range change {
		c(req)
	}
	return req
}

func withCapability(c *csi.VolumeCapability) func(*csi.NodeStageVolumeRequest) {
	return func(r *csi.NodeStageVolumeRequest) { r.VolumeCapability = c }
}

// asStatic makes the request one for a volume whose WWID nobody has written down.
func asStatic(r *csi.NodeStageVolumeRequest) {
	r.VolumeId, r.PublishContext = "static/vol-1", nil
	delete(r.VolumeContext, "wwid")
	r.VolumeContext["lun"] = "1"
}

func publishOf(req *csi.NodeStageVolumeRequest, target string) *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: req.GetVolumeId(), StagingTargetPath: req.GetStagingTargetPath(), TargetPath: target,
		VolumeCapability: req.GetVolumeCapability(), VolumeContext: req.GetVolumeContext(), PublishContext: req.GetPublishContext(),
	}
}

func (r *rig) stageIt(t *testing.T, req *csi.NodeStageVolumeRequest) {
	t.Helper()
	if _, err := r.NodeStageVolume(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) publishIt(t *testing.T, req *csi.NodePublishVolumeRequest) {
	t.Helper()
	if _, err := r.NodePublishVolume(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) unpublishIt(t *testing.T, id, target string) {
	t.Helper()
	if _, err := r.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target}); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) unstageIt(t *testing.T, id string) {
	t.Helper()
	req := &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: testStaging}
	if _, err := r.NodeUnstageVolume(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) recorded(t *testing.T, id string) *staging.Record {
	t.Helper()
	rec, err := r.store.Record(id)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestNodeLife(t *testing.T) {
	for name, capability := range map[string]*csi.VolumeCapability{
		"mount": mountCapability(writer, "noatime"), "block": blockCapability(writer),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			req := stageRequest(withCapability(capability))
			for range 2 {
				r.stageIt(t, req)
			}
			r.publishIt(t, publishOf(req, testTarget))
			// The plugin is replaced: everything is undone from the record.
			r.boot("boot-1")
			for range 2 {
				r.unpublishIt(t, testID, testTarget)
			}
			for range 2 {
				r.unstageIt(t, testID)
			}
			r.clean(t)
			if n := r.count("format") + r.count("mount"); capability.GetMount() != nil && n != 2 {
				t.Errorf("formatted and mounted %d times in all: %v", n, r.log)
			}
			if files, _ := filepath.Glob(filepath.Join(r.dir, "*", "*.json")); len(files) != 0 {
				t.Errorf("left over: %v", files)
			}
		})
	}
}

func TestNodeStageInvalid(t *testing.T) {
	for name, change := range map[string]func(*csi.NodeStageVolumeRequest){
		"no id":              func(r *csi.NodeStageVolumeRequest) { r.VolumeId = "" },
		"hostile id":         func(r *csi.NodeStageVolumeRequest) { r.VolumeId = "../../x" },
		"no staging path":    func(r *csi.NodeStageVolumeRequest) { r.StagingTargetPath = "" },
		"relative path":      func(r *csi.NodeStageVolumeRequest) { r.StagingTargetPath = "a/b" },
		"dots":               func(r *csi.NodeStageVolumeRequest) { r.StagingTargetPath = "/a/../b" },
		"newline in path":    func(r *csi.NodeStageVolumeRequest) { r.StagingTargetPath = "/a\nb" },
		"no capability":      func(r *csi.NodeStageVolumeRequest) { r.VolumeCapability = nil },
		"bind":               withCapability(mountCapability(writer, "bind")),
		"other device":       withCapability(mountCapability(writer, "journal_dev=1")),
		"newline in option":  withCapability(mountCapability(writer, "a\nb")),
		"no LUN":             func(r *csi.NodeStageVolumeRequest) { r.PublishContext = nil },
		"bad IQN":            func(r *csi.NodeStageVolumeRequest) { r.VolumeContext["iqn"] = "iqn.2026-11.x:../y" },
		"too many min paths": func(r *csi.NodeStageVolumeRequest) { r.VolumeContext["minPaths"] = "5" },
		"half a CHAP":        func(r *csi.NodeStageVolumeRequest) { r.Secrets = map[string]string{"node.session.auth.username": "u"} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if _, err := r.NodeStageVolume(t.Context(), stageRequest(change)); code(err) != codes.InvalidArgument {
				t.Errorf("got %v", err)
			}
			if len(r.log) > 0 {
				t.Errorf("touched: %v", r.log)
			}
			if files, _ := filepath.Glob(filepath.Join(r.dir, "*", "*.json")); len(files) != 0 {
				t.Errorf("written: %v", files)
			}
		})
	}
}

func TestNodeStageCodes(t *testing.T) {
	missing := &hostexec.Error{Name: "mkfs.ext4", ExitCode: -1, Err: fmt.Errorf("start: %w", exec.ErrNotFound)}
	tests := map[string]struct {
		op   string
		err  error
		want codes.Code
		text string
	}{
		"auth":         {"attach", &attach.PathsError{Pairs: []*attach.PairError{{Err: attach.ErrAuth}}}, codes.Unauthenticated, ""},
		"paths":        {"attach", &attach.PathsError{Want: 2}, codes.Unavailable, ""},
		"not ready":    {"attach", attach.ErrNotReady, codes.FailedPrecondition, ""},
		"wrong LUN":    {"attach", attach.ErrWWIDMismatch, codes.FailedPrecondition, ""},
		"no such NIC":  {"attach", attach.ErrInvalid, codes.InvalidArgument, ""},
		"not blank":    {"format", fsmount.ErrNotBlank, codes.FailedPrecondition, ""},
		"mkfs missing": {"format", missing, codes.FailedPrecondition, "install e2fsprogs"},
		"damaged":      {"mount", fsmount.ErrDamaged, codes.Internal, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.fail[tc.op] = tc.err
			_, err := r.NodeStageVolume(t.Context(), stageRequest())
			if code(err) != tc.want || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v (%v), want %v", code(err), err, tc.want)
			}
			// kubelet believes that nothing is there after such an error.
			r.clean(t)
			if r.recorded(t, testID) != nil {
				t.Error("record left over")
			}
		})
	}
}

// A stage that failed and could not be undone is one that kubelet must come back to, whatever it failed with. The next call
// converges: it succeeds, or fails with nothing left.
func TestNodeStageNotUndone(t *testing.T) {
	for name, undo := range map[string]string{"attached": "detach", "mounted": "unmount"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.leave(t, undo)
			r.stageIt(t, stageRequest())
			r.unstageIt(t, testID)
			r.clean(t)

			r.luns[1].broken = fsmount.ErrDamaged
			r.leave(t, undo)
			if _, err := r.NodeStageVolume(t.Context(), stageRequest()); code(err) != codes.Internal {
				t.Errorf("again: %v (%v)", code(err), err)
			}
			r.clean(t)
			if r.recorded(t, testID) != nil {
				t.Error("record left over")
			}
		})
	}
}

// leave has a stage fail after the mount, and its undoing as well.
func (r *rig) leave(t *testing.T, undo string) {
	t.Helper()
	broken := r.luns[1].broken
	r.luns[1].broken, r.fail[undo] = fsmount.ErrDamaged, context.DeadlineExceeded
	_, err := r.NodeStageVolume(t.Context(), stageRequest())
	if code(err) != codes.Aborted || !errors.Is(err, fsmount.ErrDamaged) || !strings.HasPrefix(err.Error(), fsmount.ErrDamaged.Error()) {
		t.Errorf("got %v (%v)", code(err), err)
	}
	if r.recorded(t, testID) == nil {
		t.Error("nothing tells of what is left")
	}
	delete(r.fail, undo)
	r.luns[1].broken = broken
}

// A call whose time ran out before there was a device leaves its record for the next one; later it undoes what it did,
// since what waits for a path must not wait for ever.
func TestNodeStageTimeout(t *testing.T) {
	for _, op := range []string{"attach", "mount"} {
		t.Run(op, func(t *testing.T) {
			r := newRig(t)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			r.fail[op] = context.Canceled
			if _, err := r.NodeStageVolume(ctx, stageRequest()); err == nil {
				t.Fatal("no error")
			}
			if rec := r.recorded(t, testID); (rec != nil) != (op == "attach") || len(r.attached) != 0 {
				t.Errorf("record %+v, attached %v", rec, r.attached)
			}
			delete(r.fail, op)
			r.stageIt(t, stageRequest())
			r.unstageIt(t, testID)
			r.clean(t)
		})
	}
}

// A mkfs that was killed is repeated, on this node and this device only, even after the stage was undone.
func TestNodeStageFormatConverges(t *testing.T) {
	r := newRig(t)
	r.fail["format"] = errors.New("killed")
	if _, err := r.NodeStageVolume(t.Context(), stageRequest()); err == nil {
		t.Fatal("no error")
	}
	note, err := r.store.Note(testID)
	if err != nil || note.Formatting == nil || note.Formatting.WWID != r.luns[1].wwid {
		t.Fatalf("note %+v, %v", note, err)
	}
	delete(r.fail, "format")
	r.boot("boot-2")
	r.stageIt(t, stageRequest())
	if note, err = r.store.Note(testID); err != nil || note.Formatting != nil {
		t.Errorf("note %+v, %v", note, err)
	}
}

func TestNodeStageAgainDifferently(t *testing.T) {
	tests := map[string]struct {
		change func(*csi.NodeStageVolumeRequest)
		want   codes.Code
	}{
		"other path":       {func(r *csi.NodeStageVolumeRequest) { r.StagingTargetPath = "/other" }, codes.AlreadyExists},
		"other mode":       {withCapability(mountCapability(multiWriter)), codes.AlreadyExists},
		"other options":    {withCapability(mountCapability(writer, "noatime")), codes.AlreadyExists},
		"block":            {withCapability(blockCapability(writer)), codes.AlreadyExists},
		"other secret":     {func(r *csi.NodeStageVolumeRequest) { r.Secrets = nil }, codes.OK},
		"fewer min paths":  {func(r *csi.NodeStageVolumeRequest) { r.VolumeContext["minPaths"] = "1" }, codes.OK},
		"WWID of another":  {func(r *csi.NodeStageVolumeRequest) { r.VolumeContext["wwid"] = "naa.6001405000000000000000000000002b" }, codes.AlreadyExists},
		"wrong LUN number": {func(r *csi.NodeStageVolumeRequest) { r.PublishContext["lun"] = "2" }, codes.FailedPrecondition},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.stageIt(t, stageRequest())
			before := r.recorded(t, testID)
			_, err := r.NodeStageVolume(t.Context(), stageRequest(tc.change))
			if code(err) != tc.want {
				t.Errorf("got %v (%v), want %v", code(err), err, tc.want)
			}
			// Whatever happens, a volume in use stays in use.
			if at, _ := r.At(testStaging); len(at) != 1 || !r.recorded(t, testID).Staged ||
				(err != nil && !cmp.Equal(before.Attachment.LUN, r.recorded(t, testID).Attachment.LUN)) {
				t.Errorf("mounts %v, record %+v", at, r.recorded(t, testID))
			}
		})
	}
}

// After a reboot nothing is mounted any more, and the record of old must not stand in the way.
func TestNodeStageAfterReboot(t *testing.T) {
	r := newRig(t)
	req := stageRequest()
	r.stageIt(t, req)
	r.publishIt(t, publishOf(req, testTarget))
	r.attached, r.points = map[string]*lun{}, nil
	r.boot("boot-2")
	if _, err := r.NodePublishVolume(t.Context(), publishOf(req, testTarget)); code(err) != codes.FailedPrecondition {
		t.Errorf("publish before stage: %v", err)
	}
	again := stageRequest(withCapability(mountCapability(singleWriter)))
	r.stageIt(t, again)
	r.publishIt(t, publishOf(again, "/kubelet/pods/p2/mount"))
	r.unpublishIt(t, testID, "/kubelet/pods/p2/mount")
	r.unstageIt(t, testID)
	r.clean(t)
}

func TestNodeStageStale(t *testing.T) {
	for name, spoil := range map[string]func(r *rig){
		"another device":  func(r *rig) { r.points[0].Minor = 9 },
		"stacked":         func(r *rig) { r.points = append(r.points, r.points[0]) },
		"went read-only":  func(r *rig) { r.luns[1].broken = fsmount.ErrDamaged },
		"device replaced": func(r *rig) { r.luns[1].minor = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.stageIt(t, stageRequest())
			spoil(r)
			_, err := r.NodeStageVolume(t.Context(), stageRequest())
			if name == "went read-only" {
				// The fake's file system stays damaged, as one does that is in use elsewhere.
				if code(err) != codes.Internal {
					t.Errorf("got %v", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if at, _ := r.At(testStaging); r.count("unmount") != 1 || len(at) != 1 {
				t.Errorf("mounts %v after %v", at, r.log)
			}
		})
	}
}

func TestNodeStageGrows(t *testing.T) {
	r := newRig(t)
	r.luns[1].super = &fsmount.Superblock{FSType: "ext4", SizeBytes: 1 << 29, BlockSize: 4096}
	r.fail["grow"] = errors.New("killed")
	if _, err := r.NodeStageVolume(t.Context(), stageRequest()); err == nil {
		t.Fatal("no error")
	}
	delete(r.fail, "grow")
	for range 2 {
		r.stageIt(t, stageRequest())
	}
	if n := r.count("grow"); n != 2 {
		t.Errorf("grown %d times, want one failure and one success", n)
	}
}

func TestNodeStageReadOnly(t *testing.T) {
	r := newRig(t)
	req := stageRequest(withCapability(mountCapability(readers)))
	if _, err := r.NodeStageVolume(t.Context(), req); code(err) != codes.FailedPrecondition || r.count("format") != 0 {
		t.Errorf("a blank volume: %v, %v", err, r.log)
	}
	r.luns[1].super = &fsmount.Superblock{FSType: "ext4", SizeBytes: 1 << 29, BlockSize: 4096}
	r.stageIt(t, req)
	if at, _ := r.At(testStaging); len(at) != 1 || !at[0].SuperReadOnly() || r.count("grow") != 0 {
		t.Errorf("%v, %v", at, r.log)
	}
}

// The WWID of a static volume is learned once and holds from then on, across unstage and reboot.
func TestNodeStageStatic(t *testing.T) {
	r := newRig(t)
	r.stageIt(t, stageRequest(asStatic))
	r.unstageIt(t, "static/vol-1")
	r.clean(t)
	r.boot("boot-2")
	r.luns[1] = &lun{wwid: "naa.6001405000000000000000000000009f", minor: 3, size: 1 << 30}
	if _, err := r.NodeStageVolume(t.Context(), stageRequest(asStatic)); code(err) != codes.FailedPrecondition {
		t.Errorf("another LUN under the same number: %v", err)
	}
	r.clean(t)
}

func TestNodePublishTable(t *testing.T) {
	const other = "/kubelet/pods/p2/mount"
	tests := []struct {
		mode     csi.VolumeCapability_AccessMode_Mode
		target   string
		readOnly bool
		want     codes.Code
	}{
		{writer, testTarget, false, codes.OK},
		{writer, testTarget, true, codes.AlreadyExists},
		{writer, other, false, codes.FailedPrecondition},
		{singleWriter, testTarget, false, codes.OK},
		{singleWriter, testTarget, true, codes.AlreadyExists},
		{singleWriter, other, false, codes.FailedPrecondition},
		{singleWriter, other, true, codes.FailedPrecondition},
		{multiWriter, testTarget, false, codes.OK},
		{multiWriter, testTarget, true, codes.AlreadyExists},
		{multiWriter, other, false, codes.OK},
		{multiWriter, other, true, codes.OK},
	}
	for _, tc := range tests {
		kinds := map[string]*csi.VolumeCapability{"mount": mountCapability(tc.mode)}
		if tc.target == other {
			// At the same target again a block volume's node is looked at, which takes a real one: test/lab/node.
			kinds["block"] = blockCapability(tc.mode)
		}
		for kind, capability := range kinds {
			t.Run(fmt.Sprintf("%s %v %v %v", kind, tc.mode, tc.target == other, tc.readOnly), func(t *testing.T) {
				r := newRig(t)
				req := stageRequest(withCapability(capability))
				r.stageIt(t, req)
				r.publishIt(t, publishOf(req, testTarget))
				second := publishOf(req, tc.target)
				second.Readonly = tc.readOnly
				if _, err := r.NodePublishVolume(t.Context(), second); code(err) != tc.want {
					t.Errorf("got %v (%v), want %v", code(err), err, tc.want)
				}
			})
		}
	}
}

func TestNodePublishErrors(t *testing.T) {
	tests := map[string]struct {
		change func(*csi.NodePublishVolumeRequest)
		want   codes.Code
	}{
		"no id":               {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "" }, codes.InvalidArgument},
		"no target":           {func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "" }, codes.InvalidArgument},
		"no capability":       {func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = nil }, codes.InvalidArgument},
		"no staging path":     {func(r *csi.NodePublishVolumeRequest) { r.StagingTargetPath = "" }, codes.FailedPrecondition},
		"other staging path":  {func(r *csi.NodePublishVolumeRequest) { r.StagingTargetPath = "/x" }, codes.FailedPrecondition},
		"unknown volume":      {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "some-id" }, codes.NotFound},
		"unknown volume here": {func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "storage/pool/vol-2" }, codes.NotFound},
		"other capability": {
			func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = blockCapability(writer) }, codes.FailedPrecondition,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.stageIt(t, stageRequest())
			req := publishOf(stageRequest(), testTarget)
			tc.change(req)
			if _, err := r.NodePublishVolume(t.Context(), req); code(err) != tc.want {
				t.Errorf("got %v (%v), want %v", code(err), err, tc.want)
			}
			if r.count("bind") != 0 {
				t.Error("published")
			}
		})
	}
}

// What is mounted at the target from an earlier life goes, and nothing is stacked upon it.
func TestNodePublishStale(t *testing.T) {
	r := newRig(t)
	req := stageRequest()
	r.stageIt(t, req)
	r.points = append(r.points, fsmount.Point{Path: testTarget, Major: 253, Minor: 99, Options: []string{"rw"}})
	r.publishIt(t, publishOf(req, testTarget))
	if at, _ := r.At(testTarget); len(at) != 1 || at[0].Minor != r.luns[1].minor {
		t.Errorf("%v", at)
	}
}

func TestNodeUnstagePublished(t *testing.T) {
	r := newRig(t)
	req := stageRequest()
	r.stageIt(t, req)
	r.publishIt(t, publishOf(req, testTarget))
	unstage := &csi.NodeUnstageVolumeRequest{VolumeId: testID, StagingTargetPath: testStaging}
	if _, err := r.NodeUnstageVolume(t.Context(), unstage); code(err) != codes.FailedPrecondition {
		t.Errorf("got %v", err)
	}
	// Somebody unmounted by hand: that is as good.
	r.points = slices.DeleteFunc(r.points, func(p fsmount.Point) bool { return p.Path == testTarget })
	r.unstageIt(t, testID)
	r.clean(t)
}

func TestNodeUnstageConverges(t *testing.T) {
	r := newRig(t)
	r.stageIt(t, stageRequest())
	r.fail["detach"] = attach.ErrInUse
	req := &csi.NodeUnstageVolumeRequest{VolumeId: testID, StagingTargetPath: testStaging}
	if _, err := r.NodeUnstageVolume(t.Context(), req); code(err) != codes.FailedPrecondition {
		t.Errorf("got %v", err)
	}
	if r.recorded(t, testID) == nil {
		t.Fatal("the record must stay until all is undone")
	}
	delete(r.fail, "detach")
	r.unstageIt(t, testID)
	r.clean(t)
}

func TestNodeUnstageWithoutRecord(t *testing.T) {
	r := newRig(t)
	r.stageIt(t, stageRequest())
	if err := r.store.Delete(testID); err != nil {
		t.Fatal(err)
	}
	r.unstageIt(t, testID)
	r.clean(t)
}

func TestNodeUnstageCorruptRecord(t *testing.T) {
	r := newRig(t)
	r.stageIt(t, stageRequest())
	files, err := filepath.Glob(filepath.Join(r.dir, "volumes", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	req := &csi.NodeUnstageVolumeRequest{VolumeId: testID, StagingTargetPath: testStaging}
	if _, err := r.NodeUnstageVolume(t.Context(), req); !errors.Is(err, staging.ErrCorrupt) || len(r.points) != 1 {
		t.Errorf("got %v", err)
	}
}

func TestNodeExpand(t *testing.T) {
	r := newRig(t)
	req := stageRequest()
	r.stageIt(t, req)
	r.publishIt(t, publishOf(req, testTarget))
	expand := func(id, path string, required int64) (*csi.NodeExpandVolumeResponse, error) {
		return r.NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{
			VolumeId: id, VolumePath: path, CapacityRange: &csi.CapacityRange{RequiredBytes: required},
		})
	}
	r.luns[1].size = 2 << 30
	for _, path := range []string{testStaging, testTarget} {
		resp, err := expand(testID, path, 2<<30)
		if err != nil || resp.GetCapacityBytes() != 2<<30 || r.luns[1].super.SizeBytes != 2<<30 {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
	for _, tc := range []struct {
		id, path string
		required int64
		want     codes.Code
	}{
		{"", testTarget, 0, codes.InvalidArgument},
		{testID, "", 0, codes.InvalidArgument},
		{testID, "/elsewhere", 0, codes.NotFound},
		{"storage/pool/none", testTarget, 0, codes.NotFound},
		{testID, testTarget, 3 << 30, codes.OutOfRange},
	} {
		if _, err := expand(tc.id, tc.path, tc.required); code(err) != tc.want {
			t.Errorf("%+v: got %v", tc, err)
		}
	}
}

func TestNodeStats(t *testing.T) {
	r := newRig(t)
	stats := func(id, path string) (*csi.NodeGetVolumeStatsResponse, error) {
		return r.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
	}
	r.stageIt(t, stageRequest())
	resp, err := stats(testID, testStaging)
	if err != nil || len(resp.GetUsage()) != 1 || resp.GetUsage()[0].GetAvailable() != 60 {
		t.Errorf("%v, %v", resp, err)
	}
	for _, tc := range []struct {
		id, path string
		want     codes.Code
	}{
		{"", testStaging, codes.InvalidArgument},
		{testID, "", codes.InvalidArgument},
		{testID, "/elsewhere", codes.NotFound},
		{"none", testStaging, codes.NotFound},
	} {
		if _, err := stats(tc.id, tc.path); code(err) != tc.want {
			t.Errorf("%+v: got %v", tc, err)
		}
	}
	r.points = nil
	if _, err := stats(testID, testStaging); code(err) != codes.NotFound {
		t.Errorf("not mounted any more: %v", err)
	}
	r.unstageIt(t, testID)
	r.stageIt(t, stageRequest(withCapability(blockCapability(writer))))
	resp, err = stats(testID, testStaging)
	if err != nil || resp.GetUsage()[0].GetTotal() != 1<<30 {
		t.Errorf("%v, %v", resp, err)
	}
	// Kubelet asks where it has bound the device itself.
	r.nodes = map[string]uint32{"/kubelet/dev/pod": 1, "/kubelet/dev/other": 2}
	if resp, err = stats(testID, "/kubelet/dev/pod"); err != nil || resp.GetUsage()[0].GetTotal() != 1<<30 {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := stats(testID, "/kubelet/dev/other"); code(err) != codes.NotFound {
		t.Errorf("another volume's device: %v", err)
	}
}

func TestNodeHeal(t *testing.T) {
	r := newRig(t)
	if _, err := r.Node.Heal(t.Context()); err != nil || r.count("heal") != 0 {
		t.Errorf("nothing is staged: %v", err)
	}
	req := stageRequest()
	req.Secrets = map[string]string{"node.session.auth.username": "u", "node.session.auth.password": "0123456789abcdef"}
	r.stageIt(t, req)
	if _, err := r.Node.Heal(t.Context()); err != nil || len(r.healed) != 1 || r.healed[0].LUN != 1 || r.healed[0].CHAP != nil {
		t.Errorf("%v, %v", r.healed, err)
	}
	if err := r.Node.Vacate(t.Context()); err != nil || len(r.vacated) != 1 || r.vacated[0].LUN != 1 {
		t.Errorf("%v, %v", r.vacated, err)
	}
	raw := ""
	for _, file := range must(filepath.Glob(filepath.Join(r.dir, "*", "*.json"))) {
		raw += string(must(os.ReadFile(file)))
	}
	if strings.Contains(raw, "0123456789abcdef") {
		t.Error("secret in a record")
	}
	r.boot("boot-2")
	r.log = nil
	if _, err := r.Node.Heal(t.Context()); err != nil || r.count("heal") != 0 {
		t.Errorf("records of an earlier boot: %v", err)
	}
	if err := r.Node.Vacate(t.Context()); err != nil || len(r.vacated) != 0 || r.count("vacate") != 1 {
		t.Errorf("what is left of sessions must go all the same: %v, %v", r.vacated, err)
	}
}

func TestPatience(t *testing.T) {
	var p patience
	one := &attach.StaysError{WWID: "naa.1", Interfaces: []string{"san-a"}, Have: 0, Want: 1}
	other := &attach.StaysError{WWID: "naa.2", Interfaces: []string{"san-a"}, Have: 0, Want: 1}
	for i, step := range []struct {
		err  error
		want time.Duration
	}{
		{nil, healInterval},
		{one, leaveInterval},
		{one, 2 * leaveInterval},
		{one, 4 * leaveInterval},
		{other, leaveInterval},
		{nil, healInterval},
		{other, leaveInterval},
		{errors.New("sysfs is gone"), healInterval},
	} {
		if got := p.after(t.Context(), step.err); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	for range 20 {
		if got := p.after(t.Context(), one); got > healInterval {
			t.Errorf("%v", got)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestNodeInfo(t *testing.T) {
	r := newRig(t)
	info, err := r.NodeGetInfo(t.Context(), nil)
	if err != nil || info.GetNodeId() != "iqn.2026-11.io.portbind:n1" || info.GetMaxVolumesPerNode() != 255 {
		t.Errorf("%v, %v", info, err)
	}
	if diff := cmp.Diff(topology("san-a", "true"), info.GetAccessibleTopology(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	capabilities, err := r.NodeGetCapabilities(t.Context(), nil)
	if err != nil || len(capabilities.GetCapabilities()) != 6 {
		t.Errorf("%v, %v", capabilities, err)
	}
}
