//go:build lab

package failover

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestTargetRestart takes everything from the target host that a reboot takes, under verified writes: the daemon by
// SIGKILL, LIO's configuration, the active logical volumes. What its disks hold stays. reboot/ does it with a machine.
func TestTargetRestart(t *testing.T) {
	hideFromLVM(t)
	s := newStack(t)
	v := up(s, "reboot")
	idle := create(s, "idle", nil) // exists and is not published: it must not be afterwards, either
	l := startLoad(v)
	before := exports()

	powerOff(s)
	time.Sleep(20 * time.Second) // for how long the host is away
	if n := l.Journal.Result(); n.Err != nil {
		t.Errorf("a write failed while the target was away: %v", n.Err)
	}
	s.Target.Start()
	atMost(t, "target ready again: writes go on", l.Flowing(time.Minute), 15*time.Second)
	atMost(t, "all paths active", v.waitPaths(time.Minute, allPaths), 30*time.Second)
	if after := exports(); !slices.Equal(before, after) {
		t.Errorf("exports before %v, after %v", before, after)
	}
	l.Finish()
	checkWritable(t, v)
	sameAfterwards(t, v)
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	must(t, idle.Delete(ctx))
	v.down()
}

// hideFromLVM keeps the target host's LVM away from the initiator's disks: here they are of one kernel, and LVM would
// wait for a map whose paths are all lost, which waits for LVM.
func hideFromLVM(t *testing.T) {
	t.Helper()
	const file = "/etc/lvm/lvmlocal.conf"
	before, err := os.ReadFile(file)
	must(t, err)
	t.Cleanup(func() { must(t, os.WriteFile(file, before, 0o644)) })
	must(t, os.WriteFile(file, []byte("devices { global_filter = [ \"a|^/dev/loop|\", \"r|.*|\" ] }\n"), 0o644))
}

// powerOff leaves of the target host what a power cut leaves.
func powerOff(s *labenv.Stack) {
	s.T.Helper()
	s.Target.Kill()
	s.Target.ForgetKernelState()
	for _, p := range s.Target.Pools {
		s.Run("vgchange", "-an", p.VG)
	}
}

// exports lists LUNs, mappings and portals.
func exports() (all []string) {
	for _, pattern := range []string{"lun/lun_*", "acls/*/lun_*", "np/*"} {
		found, _ := filepath.Glob("/sys/kernel/config/target/iscsi/iqn.*/tpgt_*/" + pattern)
		all = append(all, found...)
	}
	return all
}

// checkWritable looks whether the file system went read-only, as ext4 does after an error.
func checkWritable(t *testing.T, v *volume) {
	t.Helper()
	var fs unix.Statfs_t
	must(t, unix.Statfs(v.TargetPath, &fs))
	if fs.Flags&unix.ST_RDONLY != 0 {
		t.Error("the file system is read-only")
	}
	writeBlocks(t, v, 10)
}

// sameAfterwards: the calls that Kubernetes repeats find everything as it is.
func sameAfterwards(t *testing.T, v *volume) {
	t.Helper()
	ctx, cancel := v.s.Context(time.Minute)
	defer cancel()
	lun := v.PublishContext["lun"]
	for name, call := range map[string]func(context.Context) error{
		"ControllerPublishVolume": v.ControllerPublish, "NodeStageVolume": v.Stage, "NodePublishVolume": v.Publish,
	} {
		if err := call(ctx); err != nil {
			t.Errorf("%s again: %v", name, err)
		}
	}
	if v.PublishContext["lun"] != lun {
		t.Errorf("LUN %s became %s", lun, v.PublishContext["lun"])
	}
	list, err := v.s.Controller.Controller.ListVolumes(ctx, &csi.ListVolumesRequest{})
	must(t, err)
	if n := len(list.GetEntries()); n != 2 {
		t.Errorf("%d volumes; wanted 2", n)
	}
}
