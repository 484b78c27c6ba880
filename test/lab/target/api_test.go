//go:build lab

package target

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
	"github.com/portbind/portbind/test/lab/labenv"
)

func TestVolumes(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	v := s.create("one", 10*mib+1)
	if v.GetSizeBytes() != 12*mib || !strings.HasPrefix(v.GetWwid(), "naa.6001405") || len(v.GetWwid()) != len("naa.")+32 {
		t.Errorf("created %v", v)
	}
	again := s.create("one", 10*mib+1)
	if again.GetWwid() != v.GetWwid() || len(s.lvs()) != 1 {
		t.Errorf("created twice: %v, %v", again, s.lvs())
	}
	_, err := s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("one"), RequiredBytes: gib})
	s.want(err, codes.AlreadyExists)
	_, err = s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("two"), RequiredBytes: 1, LimitBytes: 1000})
	s.want(err, codes.OutOfRange, "limit_bytes")
	_, err = s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: &targetv1.VolumeKey{Pool: "none", Name: "x"}})
	s.want(err, codes.NotFound, "none")
	_, err = s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("../x")})
	s.want(err, codes.InvalidArgument, "key.name")
	grown, err := s.api.ExpandVolume(s.ctx(), &targetv1.ExpandVolumeRequest{Key: s.key("one"), RequiredBytes: 20 * mib})
	s.must(err)
	if grown.GetSizeBytes() != 20*mib {
		t.Errorf("grown to %d", grown.GetSizeBytes())
	}
	list, err := s.api.ListVolumes(s.ctx(), &targetv1.ListVolumesRequest{})
	s.must(err)
	if len(list.GetVolumes()) != 1 || list.GetVolumes()[0].GetSizeBytes() != 20*mib {
		t.Errorf("listed %v", list)
	}
	s.remove("one")
	s.remove("one")
	_, err = s.api.GetVolume(s.ctx(), &targetv1.GetVolumeRequest{Key: s.key("one")})
	s.want(err, codes.NotFound)
	s.nothingLeft()
}

func TestSnapshotsAndClones(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("src", 16*mib)
	lun := s.publish("src", nodeA, false)
	r := login(t, s.Net.Portals[0], s.target.IQN, nodeA, lun)
	s.must(r.write(0, 0xaa))
	_, err := s.api.CreateSnapshot(s.ctx(), &targetv1.CreateSnapshotRequest{Key: s.snapKey("snap"), Source: s.key("src")})
	s.must(err)
	s.must(r.write(0, 0xbb))
	_ = r.conn.Close()
	s.unpublish("src", nodeA)
	large, err := s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{
		Key: s.key("large"), RequiredBytes: 32 * mib, SourceSnapshot: s.snapKey("snap"),
	})
	s.must(err)
	if large.GetSizeBytes() != 32*mib || large.GetSourceSnapshot().GetName() != "snap" {
		t.Errorf("clone: %v", large)
	}
	_, err = s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("same"), SourceVolume: s.key("src")})
	s.must(err)
	_, err = s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("x"), SourceSnapshot: s.snapKey("none")})
	s.want(err, codes.NotFound, "none")
	s.remove("src")
	snap, err := s.api.GetSnapshot(s.ctx(), &targetv1.GetSnapshotRequest{Key: s.snapKey("snap")})
	s.must(err)
	if snap.GetSource().GetName() != "src" || snap.GetSizeBytes() != 16*mib {
		t.Errorf("snapshot: %v", snap)
	}
	for name, fill := range map[string]byte{"large": 0xaa, "same": 0xbb} {
		if got := s.block(name)[:sector]; !bytes.Equal(got, bytes.Repeat([]byte{fill}, sector)) {
			t.Errorf("%s begins with % x", name, got[:8])
		}
	}
	s.removeSnapshot("snap")
	s.remove("large")
	s.remove("same")
	s.Eventually(maintained, "idle ACL goes with its session", func() bool { return len(s.state()) == 0 })
	s.nothingLeft()
}

// TestPublish looks at what the kernel's own initiator sees.
func TestPublish(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.StartInitiator(labenv.InitiatorOptions{})
	me := labenv.InitiatorName()
	s.create("a", 16*mib)
	v := s.create("b", 16*mib)
	if a, b, again := s.publish("a", nodeB, false), s.publish("b", me, false), s.publish("b", me, false); a != 1 || b != 1 || again != 1 {
		t.Errorf("LUNs %d, %d, %d", a, b, again)
	}
	_, err := s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key("b"), Initiator: nodeB})
	s.want(err, codes.FailedPrecondition, me)
	_, err = s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key("b"), Initiator: me, ReadOnly: true})
	s.want(err, codes.AlreadyExists)
	_, err = s.api.DeleteVolume(s.ctx(), &targetv1.DeleteVolumeRequest{Key: s.key("b")})
	s.want(err, codes.FailedPrecondition, me)
	if _, err := s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key("a"), Initiator: me, Shared: true, ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	s.loginKernel("san0")
	ro, rw := s.disk(2), s.disk(1)
	if got := s.sys(rw, "device/wwid"); got != v.GetWwid() {
		t.Errorf("WWID %s, want %s", got, v.GetWwid())
	}
	if vendor, product := s.sys(rw, "device/vendor"), s.sys(rw, "device/model"); vendor != "PORTBIND" || product != "thin-volume" {
		t.Errorf("vendor %q, product %q", vendor, product)
	}
	if s.sys(ro, "ro") != "1" || s.sys(rw, "ro") != "0" {
		t.Errorf("ro %s, rw %s", s.sys(ro, "ro"), s.sys(rw, "ro"))
	}
	if s.sys(rw, "queue/discard_max_bytes") == "0" {
		t.Error("no discard")
	}
	if _, err := s.api.ExpandVolume(s.ctx(), &targetv1.ExpandVolumeRequest{Key: s.key("b"), RequiredBytes: 24 * mib}); err != nil {
		t.Error(err)
	}
	s.Write("/sys/block/"+rw+"/device/rescan", "1")
	if got := s.sys(rw, "size"); got != "49152" {
		t.Errorf("size after growth: %s sectors", got)
	}
	s.logoutKernel()
	s.unpublish("a", "")
	s.unpublish("b", me)
	s.unpublish("b", me)
	s.Eventually(maintained, "idle ACLs go", func() bool { return len(s.state()) == 0 })
	s.remove("a")
	s.remove("b")
	s.nothingLeft()
}

func TestLUNNumbersAreReused(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	for i, name := range []string{"a", "b", "c"} {
		s.create(name, 4*mib)
		if got := s.publish(name, nodeA, false); got != uint32(i+1) {
			t.Errorf("%s has LUN %d, want %d", name, got, i+1)
		}
	}
	s.unpublish("b", nodeA)
	s.create("d", 4*mib)
	if got := s.publish("d", nodeA, false); got != 2 {
		t.Errorf("d has LUN %d, want 2", got)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		s.unpublish(name, "")
		s.remove(name)
	}
	s.nothingLeft()
}

// TestFullPool is row 23: nothing more is made, and it heals after the pool grew.
func TestFullPool(t *testing.T) {
	s := startSized(t, labenv.TargetOptions{}, gib)
	p := s.target.Pools[0]
	s.create("fat", 2*gib)
	lv := p.VG + "/pbv_fat"
	s.Run("lvchange", "-ay", "-K", lv)
	s.Run("dd", "if=/dev/zero", "of=/dev/"+lv, "bs=4M", "oflag=direct", "count="+blocks(s.poolSize()*97/100, 4*mib))
	s.Run("lvchange", "-an", lv)
	s.Eventually(maintained, "the pool's fill is seen", func() bool {
		_, err := s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("more")})
		if err == nil {
			t.Fatal("made on a full pool")
		}
		s.want(err, codes.ResourceExhausted, "data of thin pool", "lvextend")
		return true
	})
	_, err := s.api.CreateSnapshot(s.ctx(), &targetv1.CreateSnapshotRequest{Key: s.snapKey("s"), Source: s.key("fat")})
	s.want(err, codes.ResourceExhausted)
	s.wantHealth("fat", "SEVERITY_DEGRADED ThinPoolDataNearlyFull")
	s.Run("lvextend", "-q", "-l", "+100%FREE", p.VG+"/"+p.LV)
	s.Eventually(maintained, "it heals after the pool grew", func() bool {
		_, err := s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("more")})
		return err == nil
	})
	s.remove("fat")
	s.Eventually(maintained, "it is well after a volume went", func() bool {
		h, err := s.api.GetVolumeHealth(s.ctx(), &targetv1.GetVolumeHealthRequest{Key: s.key("more")})
		s.must(err)
		return len(h.GetProblems()) == 0
	})
	s.wantHealth("more")
	s.remove("more")
	s.nothingLeft()
}

// takeAway removes a mapping by hand, as an administrator with targetcli might; health says so until it is served again.
func (s *setup) takeAway(name, initiator string, lun uint32) {
	s.T.Helper()
	s.wantHealth(name)
	dir := fmt.Sprintf("%s/iscsi/%s/tpgt_1/acls/%s/lun_%d", configfs, s.target.IQN, initiator, lun)
	s.must(os.Remove(dir + "/link"))
	s.must(os.Remove(dir))
	s.wantHealth(name, "SEVERITY_INACCESSIBLE ExportMissing")
	if again := s.publish(name, initiator, false); again != lun {
		s.T.Errorf("published again as LUN %d, not %d", again, lun)
	}
	s.wantHealth(name)
}

// wantHealth checks what is wrong with a volume, one by one and in the list.
func (s *setup) wantHealth(name string, want ...string) {
	s.T.Helper()
	one, err := s.api.GetVolumeHealth(s.ctx(), &targetv1.GetVolumeHealthRequest{Key: s.key(name)})
	s.must(err)
	list, err := s.api.ListVolumeHealth(s.ctx(), &targetv1.ListVolumeHealthRequest{})
	s.must(err)
	listed := slices.IndexFunc(list.GetVolumes(), func(v *targetv1.VolumeHealth) bool { return v.GetKey().GetName() == name })
	var got []string
	for _, p := range one.GetProblems() {
		s.T.Logf("health of %s: %s", name, p.GetMessage())
		got = append(got, p.GetSeverity().String()+" "+p.GetReason())
	}
	if !slices.Equal(got, want) || (listed >= 0) != (len(want) > 0) {
		s.T.Errorf("health of %s is %q, listed %v, want %q", name, got, list.GetVolumes(), want)
	}
}

func TestMetrics(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	s.create("m", 4*mib)
	s.takeAway("m", nodeA, s.publish("m", nodeA, false))
	resp, err := s.target.Get("/metrics")
	s.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	s.must(err)
	for _, line := range []string{
		`portbind_targetd_volumes{pool="` + s.pool + `"} 1`, "portbind_targetd_exports 1", "portbind_targetd_luns 1",
		"portbind_targetd_sessions 0", `method="Publish"`, `portbind_targetd_initiator_logged_in{initiator="` + nodeA + `"} 0`,
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no %s in the metrics:\n%s", line, text)
		}
	}
	s.unpublish("m", "")
	s.remove("m")
}

func TestForeignObjectsAreUntouched(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	vg := s.target.Pools[0].VG
	s.Run("lvcreate", "-q", "-an", "-V", "16m", "-T", vg+"/pool", "-n", "pbv_foreign")
	defer s.Run("lvremove", "-q", "-f", vg+"/pbv_foreign")
	s.target.Restart()
	_, err := s.api.CreateVolume(s.ctx(), &targetv1.CreateVolumeRequest{Key: s.key("foreign")}, wait)
	s.want(err, codes.AlreadyExists, "not ours")
	s.remove("foreign")
	if out := s.Run("lvs", "--noheadings", "-o", "lv_name", vg); !slices.Contains(strings.Fields(out), "pbv_foreign") {
		t.Error("the foreign LV is gone")
	}
}
