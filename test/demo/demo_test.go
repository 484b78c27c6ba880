//go:build lab

package demo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/test/lab/labenv"
)

const gib = int64(1) << 30

// story is the demo's stage: the stack, the screen and the main volume.
type story struct {
	*labenv.Stack
	t   *testing.T
	out *screen
	vol *labenv.Volume
}

// TestDemo tells the story. It fails when any of what it claims is not so.
func TestDemo(t *testing.T) {
	out := newScreen(12)
	out.print("\nPortbind: one node, two storage NICs in one subnet, one target host; a real kernel with real open-iscsi,\n" +
		"multipathd, LVM and LIO. Everything below goes through the driver's CSI calls, as Kubernetes would make them.\n")
	out.Step("Start: storage network, portbind-targetd, iscsid, multipathd, portbind-csi controller and node")
	stack := labenv.NewStack(t, labenv.StackOptions{Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": "2s"}}})
	s := &story{Stack: stack, t: t, out: out}
	for i, nic := range s.Net.NICs {
		out.Say("interface %s = NIC %s, %s", s.InterfaceNames()[i], nic, s.Net.Addrs[i])
	}
	out.Say("target %s at portals %v", s.Target.IQN, s.Net.Portals)
	s.provision()
	s.write()
	s.grow()
	s.copies()
	s.cleanUp()
	s.setups()
	out.print("\nDone in %.0f s. Nothing is left over; the guest is gone when this ends.\n", time.Since(out.began).Seconds())
}

// timed runs one CSI call with a deadline, and prints how long it took.
func (s *story) timed(what string, call func(context.Context) error) {
	s.t.Helper()
	ctx, cancel := s.Context(2 * time.Minute)
	defer cancel()
	start := time.Now()
	if err := call(ctx); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	s.out.Took(what, time.Since(start))
}

func (s *story) provision() {
	s.out.Step("Create a volume of 2 GiB and bring it to a pod's directory")
	s.timed("CreateVolume (thin LV on the target host)", func(context.Context) error {
		s.vol = s.Create("pvc-demo", 2*gib, labenv.MountExt4, nil)
		return nil
	})
	s.up(s.vol)
	s.out.Step("Its paths: one bound session per NIC and portal, all in one multipath device")
	printPaths(s.out, s.Env, sample(s.Env, s.Net.NICs))
	if n := active(paths(s.Env)); n != 4 {
		s.t.Fatalf("%d active paths, expected 4", n)
	}
}

func (s *story) up(v *labenv.Volume) {
	s.t.Helper()
	s.timed("ControllerPublishVolume (LUN for this node)", v.ControllerPublish)
	s.timed("NodeStageVolume (sessions, paths, map, format, mount)", v.Stage)
	s.timed("NodePublishVolume (bind mount)", v.Publish)
}

// down takes a volume away and deletes it.
func (s *story) down(v *labenv.Volume) {
	s.t.Helper()
	s.timed("unpublish, unstage, fence, delete "+filepath.Base(v.VolumeId), func(context.Context) error {
		v.Down()
		return nil
	})
}

// write is the heart: a NIC is cut under writes and comes back.
func (s *story) write() {
	s.out.Step("Write with verification (fio, crc32c) and keep a journal of acknowledged writes")
	journal := filepath.Join(s.vol.TargetPath, "journal")
	writer := s.Writer(journal)
	fio := s.Fio(s.vol.TargetPath, labenv.FioOptions{BS: "64k", Size: "256M"})
	s.watch(4*time.Second, writer)

	nic := s.Net.NICs[0]
	s.out.Step("Pull the cable of %s", nic)
	writer.ResetStall()
	cut := time.Now()
	s.LinkDown(nic)
	s.until(30*time.Second, writer, "the paths over "+nic+" have failed", func() bool { return active(paths(s.Env)) == 2 })
	s.out.Say("%.1f s after the cut:", time.Since(cut).Seconds())
	s.watch(3*time.Second, writer)
	s.out.Say("longest wait of a write: %.2f s; errors: %s", writer.Result().Stall.Seconds(), noneOr(writer.Result().Err))

	s.out.Step("Plug it in again; nobody does anything else")
	s.LinkUp(nic)
	back := s.until(30*time.Second, writer, "all four paths are active", func() bool { return active(paths(s.Env)) == 4 })
	s.out.Took("all paths back after", back)
	s.watch(3*time.Second, writer)
	s.verify(journal, writer, fio)
}

// verify stops the writers and reads everything back.
func (s *story) verify(journal string, writer *labenv.Writer, fio *labenv.Fio) {
	s.out.Step("Stop, and read back everything that was acknowledged")
	r := fio.Stop()
	w := writer.Stop(10 * time.Second)
	if r.Errors != 0 || w.Err != nil {
		s.t.Fatalf("fio: %d errors, %s; journal: %v", r.Errors, r.Output, w.Err)
	}
	if err := writer.Verify(journal); err != nil {
		s.t.Fatalf("acknowledged writes are not there: %v", err)
	}
	s.out.Say("fio: %.0f MiB written, %.0f MiB read back and compared, 0 errors", mib(r.WrittenBytes), mib(r.ReadBytes))
	s.out.Say("journal: %d writes acknowledged, all of them there; longest wait %.2f s", w.Acked, w.Stall.Seconds())
}

// watch shows the paths after a while.
func (s *story) watch(d time.Duration, w *labenv.Writer) {
	since, acked := sample(s.Env, s.Net.NICs), w.Result().Acked
	timer := time.NewTimer(d)
	<-timer.C
	printPaths(s.out, s.Env, since)
	s.out.Say("journal: %d writes acknowledged in %.0f s", w.Result().Acked-acked, d.Seconds())
}

// until waits and shows each second what still gets through.
func (s *story) until(limit time.Duration, w *labenv.Writer, what string, ok func() bool) time.Duration {
	s.t.Helper()
	start, shown := time.Now(), 0
	since, acked := sample(s.Env, s.Net.NICs), w.Result().Acked
	return s.Eventually(limit, what, func() bool {
		if n := int(time.Since(start).Seconds()); n > shown {
			now := w.Result().Acked
			s.out.Say("  +%2d s  %5.1f MB/s  %4d journal writes", n, since.nicRate(s.Net.NICs[0])+since.nicRate(s.Net.NICs[1]), now-acked)
			shown, acked, since = n, now, sample(s.Env, s.Net.NICs)
		}
		return ok()
	})
}

func (s *story) grow() {
	s.out.Step("Grow it online from 2 to 3 GiB")
	before := capacity(s.t, s.vol.TargetPath)
	size := &csi.CapacityRange{RequiredBytes: 3 * gib}
	s.timed("ControllerExpandVolume", func(ctx context.Context) error {
		_, err := s.Controller.Controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: s.vol.VolumeId, CapacityRange: size, VolumeCapability: s.vol.Cap,
		})
		return err
	})
	s.timed("NodeExpandVolume (all paths, map, file system)", func(ctx context.Context) error {
		_, err := s.Node.Node.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
			VolumeId: s.vol.VolumeId, VolumePath: s.vol.TargetPath, StagingTargetPath: s.vol.StagingPath, CapacityRange: size,
			VolumeCapability: s.vol.Cap,
		})
		return err
	})
	after := capacity(s.t, s.vol.TargetPath)
	s.out.Say("the mounted file system had %.2f GiB and has %.2f GiB", float64(before)/float64(gib), float64(after)/float64(gib))
	if after < before+gib*9/10 {
		s.t.Fatal("it did not grow")
	}
}

func (s *story) copies() {
	s.out.Step("Snapshot; a volume from the snapshot; a clone, larger than its source: all mounted beside the source")
	var snap *csi.Snapshot
	s.timed("CreateSnapshot", func(ctx context.Context) error {
		resp, err := s.Controller.Controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{
			Name: "snap-demo", SourceVolumeId: s.vol.VolumeId,
		})
		snap = resp.GetSnapshot()
		return err
	})
	restored := s.copyOf("pvc-restored", 3*gib, &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snap.GetSnapshotId()},
	}})
	clone := s.copyOf("pvc-clone", 4*gib, &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: s.vol.VolumeId},
	}})
	want := checksum(s.t, filepath.Join(s.vol.TargetPath, "journal"))
	for _, v := range []*labenv.Volume{restored, clone} {
		if got := checksum(s.t, filepath.Join(v.TargetPath, "journal")); got != want {
			s.t.Fatalf("%s has other content than its source", v.VolumeId)
		}
		s.out.Say("%-28s %.2f GiB, same content", filepath.Base(v.VolumeId), float64(capacity(s.t, v.TargetPath))/float64(gib))
	}
	s.down(restored)
	s.down(clone)
	s.timed("DeleteSnapshot", func(ctx context.Context) error {
		_, err := s.Controller.Controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: snap.GetSnapshotId()})
		return err
	})
}

// copyOf makes a volume from a source and mounts it.
func (s *story) copyOf(name string, size int64, source *csi.VolumeContentSource) *labenv.Volume {
	s.t.Helper()
	unix.Sync()
	req := s.CreateRequest(name, size, labenv.MountExt4, nil)
	req.VolumeContentSource = source
	v := s.CreateFrom(req)
	v.Up()
	return v
}

func (s *story) cleanUp() {
	s.out.Step("Clean up")
	s.down(s.vol)
	s.nothingLeft()
}

// nothingLeft waits until idle sessions have logged out, and the target has noticed, which looks every 30 s.
func (s *story) nothingLeft() {
	s.t.Helper()
	took := s.Eventually(20*time.Second, "idle sessions log out", func() bool { return len(labenv.Sessions()) == 0 })
	s.out.Took("sessions without a volume have logged out after", took)
	acls := "/sys/kernel/config/target/iscsi/" + s.Target.IQN + "/tpgt_1/acls/*"
	took = s.Eventually(time.Minute, "the target forgets the node", func() bool {
		left, err := filepath.Glob(acls)
		return err == nil && len(left) == 0
	})
	s.out.Took("the target has forgotten the node after", took)
	s.Clean(s.t)
	if !s.t.Failed() {
		s.out.Say("no session, disk, map, mount, iface or node record, logical volume, LUN or ACL is left")
	}
}

// capacity is the file system's size in bytes.
func capacity(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks) * st.Bsize //nolint:gosec // a file system of the lab
}

func checksum(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func noneOr(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}
