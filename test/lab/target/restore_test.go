//go:build lab

package target

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestSIGKILLUnderWrites: a daemon that dies and comes back disturbs nobody and changes nothing.
func TestSIGKILLUnderWrites(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("v", 16*mib)
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, s.publish("v", nodeA, false))
	before := s.state()
	s.target.Kill()
	s.must(r.write(0, 1))
	s.target.Start()
	s.must(r.write(1, 1))
	if diff := cmp.Diff(before, s.state()); diff != "" {
		t.Errorf("changed by a restart (-before +after):\n%s", diff)
	}
	if lun := s.publish("v", nodeA, false); lun != 1 {
		t.Errorf("LUN %d after the restart", lun)
	}
	s.target.Stop()
	s.must(r.write(2, 1))
	s.target.Start()
	_ = r.conn.Close()
	s.unpublish("v", "")
	s.remove("v")
}

// TestReboot: what was exported is exported again, under the same LUNs, with the same credentials.
func TestReboot(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("v", 16*mib)
	s.create("w", 16*mib)
	s.publish("v", nodeA, true)
	s.publish("v", nodeB, true)
	lun := s.publish("w", nodeA, false)
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, lun)
	s.must(r.write(0, 0x77))
	before := s.state()
	s.target.Kill()
	s.target.ForgetKernelState()
	s.Run("vgchange", "-an", s.target.Pools[0].VG)
	if left := s.state(); len(left) > 0 {
		t.Fatalf("not forgotten: %v", left)
	}
	s.target.Start()
	if diff := cmp.Diff(before, s.state()); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
	r = login(t, s.Net.Portals[0], s.target.IQN, nodeA, lun)
	s.must(r.write(1, 0x77))
	_ = r.conn.Close()
	for _, name := range []string{"v", "w"} {
		s.unpublish(name, "")
		s.remove(name)
	}
}

// TestLeftoversAreRemoved: objects of ours that are not recorded go at the next start, foreign ones stay.
func TestLeftoversAreRemoved(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	foreign := []string{
		configfs + "/core/iblock_0/somebody", configfs + "/iscsi/iqn.2026-11.io.portbind.lab:other/tpgt_1/lun/lun_0",
		configfs + "/iscsi/iqn.2026-11.io.portbind.lab:other/tpgt_1/acls/" + nodeA,
	}
	tpg := configfs + "/iscsi/" + s.target.IQN + "/tpgt_1"
	ours := []string{configfs + "/core/iblock_1618/p:x", tpg + "/lun/lun_9", tpg + "/acls/" + nodeA + "/lun_3"}
	for _, dir := range append(foreign, ours...) {
		s.must(os.MkdirAll(dir, 0o755))
	}
	lv := s.target.Pools[0].VG + "/stray"
	s.Run("lvcreate", "-q", "-V", "4m", "-T", s.target.Pools[0].VG+"/pool", "-n", "stray")
	s.Write(ours[0]+"/control", "udev_path=/dev/"+lv)
	s.Write(ours[0]+"/enable", "1")
	s.must(os.Symlink(ours[0], ours[1]+"/somehow"))
	s.must(os.Symlink(ours[1], ours[2]+"/somehow"))
	s.target.Restart()
	for _, dir := range ours {
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is still there", dir)
		}
	}
	for _, dir := range foreign {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	s.Run("lvremove", "-q", "-f", lv)
}

// TestSuspendedDevice: a device that a killed LVM command left suspended hangs its writers; the daemon resumes it.
func TestSuspendedDevice(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("v", 16*mib)
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, s.publish("v", nodeA, false))
	s.target.Kill()
	s.Run("dmsetup", "suspend", s.target.Pools[0].VG+"-pbv_v")
	s.target.Start()
	done := make(chan error, 1)
	go func() { done <- r.write(0, 1) }()
	select {
	case err := <-done:
		s.must(err)
	case <-time.After(10 * time.Second):
		t.Error("the device is still suspended")
	}
	_ = r.conn.Close()
	s.unpublish("v", "")
	s.remove("v")
}

// TestRTSLib: the daemon does not run beside rtslib's boot service.
func TestRTSLib(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.target.Stop()
	wants := "/etc/systemd/system/multi-user.target.wants"
	s.must(os.MkdirAll(wants, 0o755))
	link := filepath.Join(wants, "rtslib-fb-targetctl.service")
	s.must(os.Symlink("/lib/systemd/system/rtslib-fb-targetctl.service", link))
	t.Cleanup(func() { _ = os.Remove(link) })
	s.target.StartNoWait()
	if code := s.target.ExitCode(30 * time.Second); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	t.Log(s.target.Tail(1))
	s.must(os.Remove(link))
	s.target.Start()
}
