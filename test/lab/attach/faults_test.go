//go:build lab

package attach

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

// TestNamesAreNotReused attaches a volume right after another was detached, again and again: the late events of the
// first one's disks must not take paths from the second one's map. Without pins they took all four of them.
func TestNamesAreNotReused(t *testing.T) {
	w := newWorld(t, 2)
	a := w.attacher(func(c *attach.Config) { c.Grace = time.Hour })
	w.wantActive(w.attach(a, w.spec(0)), 4)
	for i := range 6 {
		w.detach(a, w.wwids[i%2])
		wwid := w.wwids[(i+1)%2]
		w.wantActive(w.attach(a, w.spec((i+1)%2)), 4)
		fewest := 4
		for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); <-time.After(3 * time.Millisecond) {
			fewest = min(fewest, w.kernelPaths(wwid))
		}
		if fewest < 4 {
			t.Errorf("round %d: the map fell to %d paths", i, fewest)
		}
	}
	w.detach(a, w.wwids[0])
}

// TestSameVolumeAgain detaches and attaches one volume without a pause: late events of the first map must not hit the
// second, whose name is the same.
func TestSameVolumeAgain(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher(func(c *attach.Config) { c.Grace = time.Hour })
	id, _ := multipath.ID(w.wwids[0])
	for i := range 4 {
		dev := w.attach(a, w.spec(0))
		w.wantActive(dev, 4)
		w.adopted(dev.WWID, 4)
		for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
			table, err := w.dm.Table(multipath.UUID(id))
			if err != nil || len(table.Paths()) != 4 || !table.Queue || !exists(dev.Path) {
				t.Fatalf("round %d: %+v, %v, link %v", i, table, err, exists(dev.Path))
			}
		}
		w.detach(a, dev.WWID)
	}
}

// TestTogether calls Attach ten times at once for one volume.
func TestTogether(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher()
	var all sync.WaitGroup
	devs := make([]attach.Device, 10)
	for i := range devs {
		all.Go(func() {
			dev, err := a.Attach(t.Context(), w.spec(0))
			if err != nil {
				t.Error(err)
			}
			devs[i] = dev
		})
	}
	all.Wait()
	for _, dev := range devs {
		w.wantActive(dev, 4)
		if dev.Major != devs[0].Major || dev.Minor != devs[0].Minor {
			t.Errorf("two devices: %+v and %+v", dev, devs[0])
		}
	}
	if n := len(labenv.Sessions()); n != 4 {
		t.Errorf("%d sessions", n)
	}
	w.detach(a, w.wwids[0])
	w.gone(w.wwids[0])
}

// TestReusedLUN has another volume at the LUN number of disks that are there still.
func TestReusedLUN(t *testing.T) {
	w := newWorld(t, 2)
	a := w.attacher()
	old := w.attach(a, w.spec(0))
	w.settle()
	w.swapLUN(0, 1)
	// In use: refused. Nothing of the new volume may come to be.
	mounted, err := os.Open(old.Path)
	if err != nil {
		t.Fatal(err)
	}
	spec := w.spec(0)
	spec.WWID = w.wwids[1]
	if _, err := a.Attach(t.Context(), spec); !errors.Is(err, attach.ErrWWIDMismatch) {
		t.Errorf("attach over disks in use: %v", err)
	}
	if n := w.kernelPaths(w.wwids[1]); n != -1 {
		t.Errorf("the new volume has a map with %d paths", n)
	}
	_ = mounted.Close()
	// Not in use: purged.
	dev := w.attach(a, spec)
	w.wantActive(dev, 4)
	w.gone(w.wwids[0])
	w.detach(a, spec.WWID)
	// The number serves another volume than was said: refused.
	if _, err := a.Attach(t.Context(), w.spec(0)); !errors.Is(err, attach.ErrWWIDMismatch) {
		t.Errorf("attach of what is not there: %v", err)
	}
}

// swapLUN makes the target show store 1 at LUN number 0.
func (w *world) swapLUN(lun, store int) {
	w.t.Helper()
	tpg := "/sys/kernel/config/target/iscsi/" + targetIQN + "/tpgt_1/lun/"
	dir := fmt.Sprintf("%slun_%d", tpg, lun)
	links, err := filepath.Glob(dir + "/raw*")
	if err != nil || len(links) != 1 {
		w.t.Fatalf("%v, %v", links, err)
	}
	check(w.t, os.Remove(links[0]))
	check(w.t, os.Symlink(fmt.Sprintf("/sys/kernel/config/target/core/fileio_0/raw%d", store), fmt.Sprintf("%s/raw%d", dir, store)))
}

// heal wants everything whole afterwards.
func heal(t *testing.T, a *attach.Attacher, w *world) {
	t.Helper()
	if lacks, err := a.Heal(t.Context(), []attach.Spec{w.spec(0)}); err != nil || lacks != 0 {
		t.Fatalf("heal: %v; %d paths are lacking", err, lacks)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDeadPortal attaches with a portal that does not answer, before and after it is known to be dead.
func TestDeadPortal(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher(func(c *attach.Config) { c.Grace = time.Second })
	w.InTarget("ip", "addr", "del", "10.99.0.2/24", "dev", "br0")
	for round := range 2 {
		start := time.Now()
		dev := w.attach(a, w.spec(0))
		t.Logf("round %d: %s", round, ms(time.Since(start)))
		w.wantActive(dev, 2)
		w.adopted(dev.WWID, 2)
		if round == 0 {
			w.detach(a, dev.WWID)
			w.Eventually(20*time.Second, "sessions closed", func() bool { return len(labenv.Sessions()) == 0 })
		}
	}
	strict := w.spec(0)
	strict.MinPaths = 3
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := a.Attach(ctx, strict)
	var paths *attach.PathsError
	if !errors.As(err, &paths) || !errors.Is(err, attach.ErrTooFewPaths) || paths.Have != 2 || !strings.Contains(err.Error(), "10.99.0.2:3260") {
		t.Errorf("three paths wanted, two there: %v", err)
	}
	w.InTarget("ip", "addr", "add", "10.99.0.2/24", "dev", "br0")
	heal(t, a, w)
	dev, err := a.Inspect(t.Context(), w.wwids[0])
	check(t, err)
	w.wantActive(dev, 4)
	w.detach(a, w.wwids[0])
}

// TestPathLostMeanwhile attaches with a disk that was found and refuses to be opened when the map is made, as one whose session has been
// lost in between: the kernel takes no table with it.
func TestPathLostMeanwhile(t *testing.T) {
	w := newWorld(t, 2)
	a := w.attacher()
	w.attach(a, w.spec(0))
	sessions, err := sysfs.Default.Sessions()
	check(t, err)
	check(t, sysfs.Default.ScanLUN(sessions[0].Host, 1))
	var lost sysfs.Disk
	w.Eventually(20*time.Second, "the disk", func() bool {
		lost, err = sysfs.Default.SessionLUN(sessions[0].ID, 1)
		return err == nil && lost.SizeBytes > 0
	})
	state := filepath.Join("/sys/block", lost.Name, "device/state")
	check(t, os.WriteFile(state, []byte("offline\n"), 0))
	spec := w.spec(1)
	spec.MinPaths = 4
	if _, err := a.Attach(t.Context(), spec); !errors.Is(err, attach.ErrTooFewPaths) || !strings.Contains(err.Error(), lost.Name+" is offline") {
		t.Errorf("attached over all paths: %v", err)
	}
	dev := w.attach(a, w.spec(1))
	w.wantActive(dev, 3)
	if dev.Lacks != 1 {
		t.Errorf("%d paths are lacking", dev.Lacks)
	}
	check(t, os.WriteFile(state, []byte("running\n"), 0))
	if lacks, err := a.Heal(t.Context(), []attach.Spec{w.spec(1)}); err != nil || lacks != 0 {
		t.Errorf("heal: %v; %d paths are lacking", err, lacks)
	}
	w.adopted(dev.WWID, 4)
	w.detach(a, w.wwids[1])
	w.detach(a, w.wwids[0])
}

// TestAllPathsDead detaches a volume whose target is out of reach, with I/O waiting in its map.
func TestAllPathsDead(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher()
	dev := w.attach(a, w.spec(0))
	w.adopted(dev.WWID, 4)
	w.settle()
	for _, nic := range w.Net.NICs {
		w.LinkDown(nic)
	}
	w.Eventually(time.Minute, "all paths failed", func() bool {
		seen, err := a.Inspect(t.Context(), dev.WWID)
		return err == nil && !strings.Contains(fmt.Sprint(seen.Paths), attach.StateActive)
	})
	reader := make(chan error, 1)
	go func() { reader <- w.read(dev.Path) }()
	select {
	case err := <-reader:
		t.Errorf("a read did not wait for a path: %v", err)
	case <-time.After(time.Second):
	}
	check(t, a.FailIO(t.Context(), dev.WWID))
	select {
	case err := <-reader:
		if err == nil {
			t.Error("the read succeeded without a path")
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the read hangs")
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	check(t, a.Detach(ctx, dev.WWID))
	t.Logf("detach %s", ms(time.Since(start)))
	w.gone(dev.WWID)
	for _, nic := range w.Net.NICs {
		w.LinkUp(nic)
	}
}

// TestInUse does not detach what is mounted or open.
func TestInUse(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher()
	dev := w.attach(a, w.spec(0))
	w.Run("mkfs.ext4", "-q", "-F", dev.Path)
	at := t.TempDir()
	w.mount(dev.Path, at)
	err := a.Detach(t.Context(), dev.WWID)
	if !errors.Is(err, attach.ErrInUse) || !strings.Contains(err.Error(), at) {
		t.Errorf("detach of what is mounted: %v", err)
	}
	w.unmount(at)
	w.detach(a, dev.WWID)
	w.gone(dev.WWID)
}

// TestResize grows a volume: with a path down nothing may have the wrong size.
func TestResize(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher()
	dev := w.attach(a, w.spec(0))
	w.adopted(dev.WWID, 4)
	w.settle()
	w.Write("/sys/kernel/config/target/core/fileio_0/raw0/control", fmt.Sprintf("fd_dev_size=%d", 2*size))
	w.LinkDown("san0")
	w.Eventually(time.Minute, "a path is down", func() bool {
		disks, _ := sysfs.Default.DisksByWWID(dev.WWID)
		return strings.Contains(fmt.Sprint(disks), "transport-offline") || strings.Contains(fmt.Sprint(disks), "blocked")
	})
	if _, err := a.Resize(t.Context(), dev.WWID); !errors.Is(err, attach.ErrSizeMismatch) {
		t.Errorf("resize with a path down: %v", err)
	}
	seen, err := a.Inspect(t.Context(), dev.WWID)
	check(t, err)
	if seen.SizeBytes != size {
		t.Errorf("the map has %d bytes", seen.SizeBytes)
	}
	w.LinkUp("san0")
	w.Eventually(time.Minute, "resized", func() bool {
		seen, err = a.Resize(t.Context(), dev.WWID)
		return err == nil
	})
	if seen.SizeBytes != 2*size {
		t.Errorf("the map has %d bytes, want %d", seen.SizeBytes, 2*size)
	}
	w.detach(a, dev.WWID)
}

// TestRefused asks for what cannot be.
func TestRefused(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher()
	for name, change := range map[string]func(*attach.Spec){
		"unknown interface": func(s *attach.Spec) { s.Interfaces = []string{"san-z"} },
		"too many minPaths": func(s *attach.Spec) { s.MinPaths = 5 },
	} {
		spec := w.spec(0)
		change(&spec)
		if _, err := a.Attach(t.Context(), spec); !errors.Is(err, attach.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	spec := w.spec(7)
	spec.WWID = w.wwids[0]
	if _, err := a.Attach(t.Context(), spec); !errors.Is(err, attach.ErrTooFewPaths) {
		t.Errorf("no such LUN: %v", err)
	}
	learned := w.spec(0)
	learned.WWID = ""
	dev := w.attach(a, learned)
	if dev.WWID != w.wwids[0] {
		t.Errorf("learned %q, want %q", dev.WWID, w.wwids[0])
	}
	w.detach(a, dev.WWID)
}

// TestNewProcess kills nothing but begins anew: another Attacher finds all that the first one made.
func TestNewProcess(t *testing.T) {
	w := newWorld(t, 1)
	first := w.attacher()
	dev := w.attach(first, w.spec(0))
	first.Close()
	second := w.attacher(func(c *attach.Config) { c.Grace = time.Second })
	if again := w.attach(second, w.spec(0)); again.Minor != dev.Minor {
		t.Errorf("another map: %+v, was %+v", again, dev)
	}
	check(t, os.RemoveAll("/etc/iscsi/ifaces"))
	heal(t, second, w)
	w.adopted(dev.WWID, 4)
	w.detach(second, dev.WWID)
	w.Eventually(20*time.Second, "sessions closed", func() bool { return len(labenv.Sessions()) == 0 })
}

// TestWrongNIC moves an interface to another NIC: its sessions are made anew there, unless a volume needs them.
func TestWrongNIC(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher()
	dev := w.attach(a, w.spec(0))
	swapped := w.attacher(func(c *attach.Config) {
		c.Interfaces = w.interfaces(map[string]string{"san-a": "san1", "san-b": "san0"})
	})
	if _, err := swapped.Attach(t.Context(), w.spec(0)); !errors.Is(err, attach.ErrTooFewPaths) || !strings.Contains(err.Error(), "wrong NIC") {
		t.Errorf("attach over sessions on the wrong NIC: %v", err)
	}
	w.detach(a, dev.WWID)
	moved := w.attach(swapped, w.spec(0))
	w.wantActive(moved, 4)
	for _, p := range moved.Paths {
		if (p.Interface == "san-a") != (p.NIC == "san1") {
			t.Errorf("path on the wrong NIC: %+v", p)
		}
	}
	w.detach(swapped, dev.WWID)
}
