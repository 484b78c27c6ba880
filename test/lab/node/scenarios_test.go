//go:build lab

package node

import (
	"errors"
	"fmt"
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

// TestNode holds the scenarios that need one whole stack and leave it as they found it.
func TestNode(t *testing.T) {
	all := newRig(t)
	for _, scenario := range []struct {
		name string
		run  func(*rig, *testing.T)
	}{
		{"PluginReplaced", (*rig).pluginReplaced},
		{"TenStagesAtOnce", (*rig).tenStagesAtOnce},
		{"StageOverStaleMount", (*rig).stageOverStaleMount},
		{"ForeignContentRefused", (*rig).foreignContentRefused},
		{"ReusedLUNRefused", (*rig).reusedLUNRefused},
		{"PublishModes", (*rig).publishModes},
		{"MissingMkfs", (*rig).missingMkfs},
		{"KilledWhileFormatting", (*rig).killedWhileFormatting},
		{"RecordLost", (*rig).recordLost},
	} {
		t.Run(scenario.name, func(t *testing.T) { scenario.run(all.on(t), t) })
	}
}

// The plugin is replaced, by a new process and after a SIGKILL, between stage and unstage: everything is undone.
// (Scorecard, row 14.)
func (r *rig) pluginReplaced(*testing.T) {
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
func (r *rig) tenStagesAtOnce(t *testing.T) {
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
func (r *rig) stageOverStaleMount(t *testing.T) {
	v := r.Create("stale", volumeSize, labenv.MountExt4, nil)
	r.check(v.ControllerPublish(r.ctx()))
	r.check(os.MkdirAll(v.StagingPath, 0o750))
	r.check(unix.Mount("tmpfs", v.StagingPath, "tmpfs", 0, ""))
	r.check(v.Stage(r.ctx()))
	r.onlyMount(v)
	r.check(v.Publish(r.ctx()))
	r.check(put(v, "kept"))
	r.check(v.Unpublish(r.ctx()))

	// The kernel finds an inconsistency.
	device, err := filepath.EvalSymlinks("/dev/mapper/" + v.Map())
	r.check(err)
	r.Write("/sys/fs/ext4/"+filepath.Base(device)+"/trigger_fs_error", "the lab's")
	if err := os.Mkdir(v.StagingPath+"/x", 0o755); err == nil {
		t.Fatal("the file system goes on after an error")
	}
	if err := v.Publish(r.ctx()); status.Code(err) != codes.Internal {
		t.Errorf("published a file system that gave up: %v", err)
	}
	r.check(v.Stage(r.ctx()))
	r.onlyMount(v)
	r.check(v.Publish(r.ctx()))
	r.want(v, "kept")
	r.check(put(v, "more"))
	r.end(v)
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
func (r *rig) foreignContentRefused(t *testing.T) {
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
func (r *rig) reusedLUNRefused(t *testing.T) {
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
func (r *rig) publishModes(t *testing.T) {
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
			r.secondTarget(v, mode)
			v.Down()
		}
	}
	r.nothingLeft()
}

// secondTarget publishes at another path, read-only.
func (r *rig) secondTarget(v *labenv.Volume, mode csi.VolumeCapability_AccessMode_Mode) {
	r.t.Helper()
	second := v.PublishRequest()
	second.TargetPath += "-2"
	second.Readonly = true
	_, err := r.Node.Node.NodePublishVolume(r.ctx(), second)
	if mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER {
		if status.Code(err) != codes.FailedPrecondition {
			r.t.Errorf("%v, a second target: %v", mode, err)
		}
		return
	}
	r.check(err)
	r.check(put(v, "shared"))
	if v.Cap.GetMount() != nil {
		if err := os.WriteFile(second.TargetPath+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
			r.t.Errorf("write through the read-only target: %v", err)
		}
	}
	_, err = r.Node.Node.NodeUnpublishVolume(r.ctx(), &csi.NodeUnpublishVolumeRequest{
		VolumeId: v.VolumeId, TargetPath: second.TargetPath,
	})
	r.check(err)
}

// The mkfs is not there: the error names the package, and the stage succeeds once it is.
func (r *rig) missingMkfs(t *testing.T) {
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

// slowMkfs takes the place of mkfs.xfs: it has written something and goes on for long, the first time.
const slowMkfs = `#!/bin/sh
for device; do :; done
if mkdir /run/slow-mkfs; then
	exec 3<>"$device"
	printf begun | dd of="$device" bs=1 seek=524288 conv=notrunc,fsync status=none
	echo $$ > /run/slow-mkfs/pid
	exec sleep 1000
fi
exec /usr/sbin/mkfs.xfs.away "$@"
`

// The plugin is killed while mkfs runs. As long as that lives on, nothing is done, and kubelet is told to come again; then the
// next call finishes what it began.
func (r *rig) killedWhileFormatting(t *testing.T) {
	const mkfs = "/usr/sbin/mkfs.xfs"
	r.check(os.Rename(mkfs, mkfs+".away"))
	t.Cleanup(func() { _ = os.Rename(mkfs+".away", mkfs) })
	r.check(os.WriteFile(mkfs, []byte(slowMkfs), 0o755))
	v := r.Create("killed", volumeSize, labenv.MountXFS, nil)
	r.check(v.ControllerPublish(r.ctx()))
	outcome := make(chan error, 1)
	go func() { outcome <- v.Stage(r.ctx()) }()
	var pid int
	r.Eventually(time.Minute, "mkfs runs", func() bool {
		text, err := os.ReadFile("/run/slow-mkfs/pid")
		_, scanErr := fmt.Sscan(string(text), &pid)
		return err == nil && scanErr == nil
	})
	r.Node.Restart()
	t.Logf("the killed call: %v", <-outcome)
	err := v.Stage(r.ctx())
	t.Logf("while the old mkfs lives: %v", err)
	if status.Code(err) != codes.Aborted {
		t.Errorf("got %v", err)
	}
	r.check(unix.Kill(pid, unix.SIGKILL))
	r.Eventually(time.Minute, "stage succeeds", func() bool {
		err := v.Stage(r.ctx())
		return err == nil
	})
	r.check(v.Publish(r.ctx()))
	r.check(put(v, "well"))
	if notes, _ := filepath.Glob(r.Node.StateDir + "/notes/*"); len(notes) > 0 {
		t.Errorf("notes left: %v", notes)
	}
	r.end(v)
}

// A record that is lost: what is mounted says what to take away.
func (r *rig) recordLost(t *testing.T) {
	v := r.Create("lost", volumeSize, labenv.MountBtrfs, nil)
	r.check(v.ControllerPublish(r.ctx()))
	r.check(v.Stage(r.ctx()))
	records, err := filepath.Glob(r.Node.StateDir + "/volumes/*.json")
	if err != nil || len(records) != 1 {
		t.Fatalf("%v, %v", records, err)
	}
	r.check(os.Remove(records[0]))
	r.check(v.Unstage(r.ctx()))
	r.nothingLeft()
	r.check(v.ControllerUnpublish(r.ctx()))
	r.check(v.Delete(r.ctx()))
}
