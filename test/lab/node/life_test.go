//go:build lab

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/test/lab/labenv"
)

const volumeSize = 320 << 20

// kinds are the ways to use a volume.
var kinds = map[string]*csi.VolumeCapability{
	"ext4": labenv.MountExt4, "xfs": labenv.MountXFS, "btrfs": labenv.MountBtrfs, "block": labenv.Block,
}

// rig is a stack with helpers that fail the test.
type rig struct {
	*labenv.Stack
	t *testing.T
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{labenv.NewStack(t, labenv.StackOptions{}), t}
}

func (r *rig) ctx() context.Context {
	ctx, cancel := r.Context(2 * time.Minute)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// end takes the volumes down in the given order, and looks for leftovers.
func (r *rig) end(volumes ...*labenv.Volume) {
	r.t.Helper()
	for _, v := range volumes {
		v.Down()
	}
	r.nothingLeft()
}

// nothingLeft looks for everything but sessions and their records, which wait for the next volume.
func (r *rig) nothingLeft() {
	r.t.Helper()
	r.Eventually(5*time.Second, "maps and disks gone", func() bool { return len(labenv.Maps())+len(labenv.Disks()) == 0 })
	for _, m := range labenv.Mounts() {
		if strings.HasPrefix(m, "/var/lib/kubelet") {
			r.t.Errorf("still mounted: %s", m)
		}
	}
	if records, _ := filepath.Glob(r.Node.StateDir + "/volumes/*"); len(records) > 0 {
		r.t.Errorf("records left: %v", records)
	}
}

// put writes to the volume, through to the disk: a file, or the beginning of the device.
func put(v *labenv.Volume, content string) error {
	path := v.TargetPath
	if v.Cap.GetMount() != nil {
		path += "/file"
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(content), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// get reads it back.
func get(v *labenv.Volume, n int) (string, error) {
	path := v.TargetPath
	if v.Cap.GetMount() != nil {
		path += "/file"
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, n)
	_, err = io.ReadFull(f, b)
	return string(b), err
}

func (r *rig) want(v *labenv.Volume, content string) {
	r.t.Helper()
	if got, err := get(v, len(content)); err != nil || got != content {
		r.t.Errorf("%s: got %q, %v; want %q", v.VolumeId, got, err, content)
	}
}

// size is what NodeGetVolumeStats says.
func (r *rig) size(v *labenv.Volume) int64 {
	r.t.Helper()
	resp, err := r.Node.Node.NodeGetVolumeStats(r.ctx(), &csi.NodeGetVolumeStatsRequest{
		VolumeId: v.VolumeId, VolumePath: v.TargetPath, StagingTargetPath: v.StagingPath,
	})
	r.check(err)
	return resp.GetUsage()[0].GetTotal()
}

// timed logs how long a step took.
func (r *rig) timed(what string, step func(context.Context) error) {
	r.t.Helper()
	begin := time.Now()
	r.check(step(r.ctx()))
	r.t.Logf("%s: %v", what, time.Since(begin).Round(time.Millisecond))
}

// A volume's whole life of each kind: formatted, written, expanded online, taken down and up again with its content, on
// all four paths, and nothing left in the end.
func TestLife(t *testing.T) {
	for name, capability := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			v := r.Create("life-"+name, volumeSize, capability, nil)
			r.timed("controller publish", v.ControllerPublish)
			r.timed("first stage", v.Stage)
			r.timed("publish", v.Publish)
			if n := len(labenv.MapPaths(v.Map())); n != 4 {
				t.Errorf("%d paths, want 4", n)
			}
			r.check(put(v, "before"))
			r.expand(v, 2*volumeSize)
			r.want(v, "before")
			r.timed("unpublish", v.Unpublish)
			if _, err := os.Lstat(v.TargetPath); err == nil {
				t.Error("the target path is still there")
			}
			r.timed("unstage", v.Unstage)
			r.timed("stage again", v.Stage)
			r.timed("publish again", v.Publish)
			r.want(v, "before")
			r.end(v)
		})
	}
}

// expand grows the volume while a file of it is open, and checks every layer.
func (r *rig) expand(v *labenv.Volume, size int64) {
	r.t.Helper()
	before := r.size(v)
	want := &csi.CapacityRange{RequiredBytes: size}
	_, err := r.Controller.Controller.ControllerExpandVolume(r.ctx(), &csi.ControllerExpandVolumeRequest{
		VolumeId: v.VolumeId, CapacityRange: want, VolumeCapability: v.Cap,
	})
	r.check(err)
	r.timed("node expand", func(ctx context.Context) error {
		resp, err := r.Node.Node.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
			VolumeId: v.VolumeId, VolumePath: v.TargetPath, StagingTargetPath: v.StagingPath, CapacityRange: want, VolumeCapability: v.Cap,
		})
		if err == nil && resp.GetCapacityBytes() < size {
			return fmt.Errorf("expanded to %d, want %d", resp.GetCapacityBytes(), size)
		}
		return err
	})
	after := r.size(v)
	r.t.Logf("size %d -> %d MiB", before>>20, after>>20)
	if grown := after - before; grown < (size-volumeSize)*9/10 {
		r.t.Errorf("grown by %d bytes only", grown)
	}
}

// A volume, a larger clone of it and a volume from its snapshot are mounted on one node at the same time.
func TestClones(t *testing.T) {
	for name, capability := range kinds {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			source := r.Create("source-"+name, volumeSize, capability, nil)
			source.Up()
			r.check(put(source, "one"))
			snapshot, err := r.Controller.Controller.CreateSnapshot(r.ctx(), &csi.CreateSnapshotRequest{
				SourceVolumeId: source.VolumeId, Name: "snap-" + name,
			})
			r.check(err)
			id := snapshot.GetSnapshot().GetSnapshotId()
			r.check(put(source, "two"))

			request := r.CreateRequest("clone-"+name, 2*volumeSize, capability, nil)
			request.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
				Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source.VolumeId},
			}}
			clone := r.CreateFrom(request)
			request = r.CreateRequest("restore-"+name, 2*volumeSize, capability, nil)
			request.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
				Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id},
			}}
			restored := r.CreateFrom(request)
			clone.Up()
			restored.Up()

			r.want(source, "two")
			r.want(clone, "two")
			r.want(restored, "one")
			r.check(put(clone, "six"))
			r.want(source, "two")
			for _, v := range []*labenv.Volume{clone, restored} {
				if size := r.size(v); size < volumeSize*3/2 {
					t.Errorf("%s has %d MiB", v.VolumeId, size>>20)
				}
			}
			_, err = r.Controller.Controller.DeleteSnapshot(r.ctx(), &csi.DeleteSnapshotRequest{SnapshotId: id})
			r.check(err)
			r.end(source, restored, clone)
		})
	}
}

// The plugin is replaced, by a new process and after a SIGKILL, between stage and unstage: everything is undone.
// (Scorecard, row 14.)
func TestPluginReplaced(t *testing.T) {
	r := newRig(t)
	var all []*labenv.Volume
	for name, capability := range kinds {
		v := r.Create("replaced-"+name, volumeSize, capability, nil)
		v.Up()
		r.check(put(v, "kept"))
		all = append(all, v)
	}
	r.Node.Restart()
	for _, v := range all {
		r.check(v.Stage(r.ctx()))
		r.check(v.Publish(r.ctx()))
		r.want(v, "kept")
	}
	r.Node.Restart()
	r.end(all...)
}

// Ten identical calls at once have one effect; the rest succeed or are told ABORTED. (Row 15.)
func TestTenStagesAtOnce(t *testing.T) {
	r := newRig(t)
	v := r.Create("ten", volumeSize, labenv.MountExt4, nil)
	r.check(v.ControllerPublish(r.ctx()))
	outcomes := make(chan error)
	for range 10 {
		go func() { outcomes <- v.Stage(r.ctx()) }()
	}
	ok := 0
	for range 10 {
		switch err := <-outcomes; status.Code(err) {
		case codes.OK:
			ok++
		case codes.Aborted:
		default:
			t.Error(err)
		}
	}
	mounts := 0
	for _, m := range labenv.Mounts() {
		if m == v.StagingPath {
			mounts++
		}
	}
	if ok == 0 || mounts != 1 || len(labenv.Maps()) != 1 {
		t.Errorf("%d succeeded, %d mounts, maps %v", ok, mounts, labenv.Maps())
	}
	t.Logf("%d succeeded, %d were told ABORTED", ok, 10-ok)
	r.check(v.Publish(r.ctx()))
	r.end(v)
}

// A stage over a mount of another device, and over one whose device died, is noticed; nothing is stacked. (Row 18.)
func TestStageOverStaleMount(t *testing.T) {
	r := newRig(t)
	v := r.Create("stale", volumeSize, labenv.MountExt4, nil)
	r.check(v.ControllerPublish(r.ctx()))
	r.check(os.MkdirAll(v.StagingPath, 0o750))
	r.check(unix.Mount("tmpfs", v.StagingPath, "tmpfs", 0, ""))
	r.check(v.Stage(r.ctx()))
	r.onlyMount(v)
	r.check(v.Publish(r.ctx()))
	r.check(put(v, "kept"))
	r.check(v.Unpublish(r.ctx()))

	// The map fails below the file system, as with paths that are all gone for good.
	sectors := strings.Fields(r.Run("dmsetup", "table", v.Map()))[1]
	table := strings.TrimSpace(r.Run("dmsetup", "table", v.Map()))
	r.reload(v.Map(), "0 "+sectors+" error")
	_ = os.Mkdir(v.StagingPath+"/x", 0o755)
	unix.Sync()
	_ = os.Mkdir(v.StagingPath+"/y", 0o755)
	r.reload(v.Map(), table)
	if err := os.Mkdir(v.StagingPath+"/z", 0o755); err == nil {
		t.Fatal("the file system did not notice; the test is wrong")
	}
	r.check(v.Stage(r.ctx()))
	r.onlyMount(v)
	r.check(v.Publish(r.ctx()))
	r.want(v, "kept")
	r.check(put(v, "more"))
	r.end(v)
}

func (r *rig) reload(name, table string) {
	r.t.Helper()
	r.Run("dmsetup", "load", name, "--table", table)
	r.Run("dmsetup", "suspend", "--nolockfs", "--noflush", name)
	r.Run("dmsetup", "resume", name)
}

// onlyMount checks that the volume's device, and nothing else, is mounted at the staging path.
func (r *rig) onlyMount(v *labenv.Volume) {
	r.t.Helper()
	points, err := fsmount.New(nil).At(v.StagingPath)
	if err != nil || len(points) != 1 || points[0].Source != "/dev/mapper/"+v.Map() {
		r.t.Errorf("%+v, %v", points, err)
	}
}

// What is on the device and not ours is neither formatted nor mounted, and the failed stage leaves nothing behind.
func TestForeignContentRefused(t *testing.T) {
	r := newRig(t)
	v := r.Create("foreign", volumeSize, labenv.Block, nil)
	v.Up()
	r.check(put(v, "somebody's data"))
	r.check(v.Unpublish(r.ctx()))
	r.check(v.Unstage(r.ctx()))
	v.Cap = labenv.MountExt4
	err := v.Stage(r.ctx())
	t.Log(err)
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("got %v", err)
	}
	r.nothingLeft()
	v.Cap = labenv.Block
	r.check(v.Stage(r.ctx()))
	r.check(v.Publish(r.ctx()))
	r.want(v, "somebody's data")
	r.end(v)
}

// A LUN number that belongs to another volume by now: the WWID says so, and nothing is mounted. (Row 17.)
func TestReusedLUNRefused(t *testing.T) {
	r := newRig(t)
	a := r.Create("lun-a", volumeSize, labenv.MountExt4, nil)
	b := r.Create("lun-b", volumeSize, labenv.MountExt4, nil)
	a.Up()
	r.check(put(a, "of a"))
	r.check(b.ControllerPublish(r.ctx()))
	right := b.PublishContext
	b.PublishContext = a.PublishContext
	err := b.Stage(r.ctx())
	t.Log(err)
	if err == nil || status.Code(err) == codes.Internal {
		t.Errorf("got %v", err)
	}
	r.want(a, "of a")
	b.PublishContext = right
	r.check(b.Stage(r.ctx()))
	r.check(b.Publish(r.ctx()))
	r.end(a, b)
}

// Publications as the specification's table has them, with real mounts.
func TestPublishModes(t *testing.T) {
	r := newRig(t)
	for name, access := range map[string]*csi.VolumeCapability{"mount": labenv.MountExt4, "block": labenv.Block} {
		for _, mode := range []csi.VolumeCapability_AccessMode_Mode{
			csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
		} {
			capability := &csi.VolumeCapability{AccessType: access.GetAccessType(), AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode}}
			v := r.Create(fmt.Sprintf("modes-%s-%d", name, mode), volumeSize, capability, nil)
			v.Up()
			r.check(v.Publish(r.ctx()))
			readOnly := v.PublishRequest()
			readOnly.Readonly = true
			if _, err := r.Node.Node.NodePublishVolume(r.ctx(), readOnly); status.Code(err) != codes.AlreadyExists {
				t.Errorf("%s %v, the same target read-only: %v", name, mode, err)
			}
			second := v.PublishRequest()
			second.TargetPath += "-2"
			second.Readonly = true
			_, err := r.Node.Node.NodePublishVolume(r.ctx(), second)
			if mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER {
				if status.Code(err) != codes.FailedPrecondition {
					t.Errorf("%s %v, a second target: %v", name, mode, err)
				}
			} else {
				r.check(err)
				r.check(put(v, "shared"))
				if name == "mount" {
					if err := os.WriteFile(second.TargetPath+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
						t.Errorf("write through the read-only target: %v", err)
					}
				}
				_, err = r.Node.Node.NodeUnpublishVolume(r.ctx(), &csi.NodeUnpublishVolumeRequest{VolumeId: v.VolumeId, TargetPath: second.TargetPath})
				r.check(err)
			}
			v.Down()
		}
	}
	r.nothingLeft()
}

// Ext4 is not there to be formatted with: the error names the package, and the stage succeeds once it is.
func TestMissingMkfs(t *testing.T) {
	r := newRig(t)
	v := r.Create("missing", volumeSize, labenv.MountXFS, nil)
	r.check(v.ControllerPublish(r.ctx()))
	const mkfs = "/usr/sbin/mkfs.xfs"
	r.check(os.Rename(mkfs, mkfs+".away"))
	t.Cleanup(func() { _ = os.Rename(mkfs+".away", mkfs) })
	err := v.Stage(r.ctx())
	t.Log(err)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "install xfsprogs") {
		t.Errorf("got %v", err)
	}
	r.nothingLeft()
	r.check(os.Rename(mkfs+".away", mkfs))
	r.check(v.Stage(r.ctx()))
	r.check(v.Publish(r.ctx()))
	r.end(v)
}

// The plugin is killed while mkfs runs; the next call finishes what it began.
func TestKilledWhileFormatting(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		v := r.Create(fmt.Sprintf("killed-%d", i), volumeSize, labenv.MountXFS, nil)
		r.check(v.ControllerPublish(r.ctx()))
		go func() { _ = v.Stage(r.ctx()) }()
		r.Eventually(30*time.Second, "mkfs runs", func() bool { return running("mkfs.xfs") })
		r.Node.Restart()
		var err error
		r.Eventually(30*time.Second, "stage succeeds", func() bool {
			err = v.Stage(r.ctx())
			return err == nil || status.Code(err) != codes.FailedPrecondition
		})
		r.check(err)
		r.check(v.Publish(r.ctx()))
		r.check(put(v, "well"))
		if notes, _ := filepath.Glob(r.Node.StateDir + "/notes/*"); len(notes) > 0 {
			t.Errorf("notes left: %v", notes)
		}
		v.Down()
	}
	r.nothingLeft()
}

// running says whether a program of that name runs.
func running(name string) bool {
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		if comm, err := os.ReadFile(f); err == nil && string(bytes.TrimSpace(comm)) == name {
			return true
		}
	}
	return false
}

// Fifty volumes, and the plugin's memory.
func TestFiftyVolumes(t *testing.T) {
	r := newRig(t)
	const count = 50
	var all []*labenv.Volume
	for i := range count {
		v := r.Create(fmt.Sprintf("many-%d", i), 16<<20, labenv.Block, nil)
		r.check(v.ControllerPublish(r.ctx()))
		all = append(all, v)
	}
	begin := time.Now()
	for _, v := range all {
		r.check(v.Stage(r.ctx()))
		r.check(v.Publish(r.ctx()))
	}
	t.Logf("%d staged in %v; resident %d KiB", count, time.Since(begin).Round(time.Millisecond), rss(r.Node.PID()))
	if kib := rss(r.Node.PID()); kib > 64<<10 {
		t.Errorf("resident %d KiB, want at most 64 MiB", kib)
	}
	r.end(all...)
}

// rss is a process's resident memory in KiB.
func rss(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return -1
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	var kib int
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}
