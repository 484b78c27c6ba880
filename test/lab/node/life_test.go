//go:build lab

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

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
	r := &rig{labenv.NewStack(t, labenv.StackOptions{}), t}
	t.Cleanup(func() {
		for _, m := range slices.Backward(labenv.Mounts()) {
			if strings.HasPrefix(m, "/var/lib/kubelet") {
				_ = unix.Unmount(m, unix.MNT_DETACH)
			}
		}
	})
	return r
}

// on is the same stack for a subtest, which leaves it as it found it.
func (r *rig) on(t *testing.T) *rig {
	env := *r.Env
	env.T = t
	stack := *r.Stack
	stack.Env = &env
	return &rig{&stack, t}
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
	all := newRig(t)
	for name, capability := range kinds {
		t.Run(name, func(t *testing.T) {
			r := all.on(t)
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
	all := newRig(t)
	for name, capability := range kinds {
		t.Run(name, func(t *testing.T) {
			r := all.on(t)
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
