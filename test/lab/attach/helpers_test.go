//go:build lab

// Package attach shows pkg/attach on a real kernel: every scenario is about the initiator's side alone, over a target
// made directly in configfs.
package attach

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	targetIQN = "iqn.2026-11.io.portbind.lab:attach"
	ourIQN    = "iqn.2026-11.io.portbind.lab:node-1"
	size      = 64 << 20
)

// world is a target with LUNs and an initiator.
type world struct {
	*labenv.Env
	t      *testing.T
	target *labenv.RawTarget
	init   *labenv.Initiator
	wwids  map[int]string
	dm     *multipath.DM
	mpd    *multipath.Client
}

func newWorld(t *testing.T, luns int) *world {
	t.Helper()
	labenv.Require(t, labenv.LIO, labenv.ISCSI, labenv.DMMultipath)
	e := labenv.New(t, labenv.Options{})
	w := &world{Env: e, t: t, target: e.RawTarget(targetIQN), wwids: map[int]string{}}
	for lun := range luns {
		w.addLUN(lun, size)
	}
	w.init = e.StartInitiator(labenv.InitiatorOptions{})
	w.dm, w.mpd = multipath.NewDM("/dev"), multipath.NewClient()
	return w
}

func (w *world) addLUN(lun int, size int64) {
	w.t.Helper()
	wwid, ok := multipath.WWID(w.target.AddLUN(lun, size))
	if !ok {
		w.t.Fatal("the lab's WWID is not NAA")
	}
	w.wwids[lun] = wwid
}

// attacher makes one with default settings, changed by with.
func (w *world) attacher(with ...func(*attach.Config)) *attach.Attacher {
	w.t.Helper()
	cfg := attach.Config{
		ISCSI:      iscsi.New(iscsi.Options{Host: hostexec.New(hostexec.Options{})}),
		Interfaces: w.interfaces(map[string]string{"san-a": "san0", "san-b": "san1"}),
		Timers:     iscsi.FastTimers(),
	}
	for _, change := range with {
		change(&cfg)
	}
	logger := ktesting.NewLogger(w.t, ktesting.NewConfig(ktesting.Verbosity(4)))
	a, err := attach.New(klog.NewContext(context.Background(), logger), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(a.Close)
	return a
}

// ctx is a call's context, with a logger that shows each step's time.
func (w *world) ctx() context.Context {
	return klog.NewContext(w.t.Context(), ktesting.NewLogger(w.t, ktesting.NewConfig(ktesting.Verbosity(4))))
}

func (w *world) interfaces(names map[string]string) func() (binding.Resolution, error) {
	var c binding.Config
	for name, nic := range names {
		c.Interfaces = append(c.Interfaces, binding.InterfaceConfig{Name: name, NetDev: nic})
	}
	return func() (binding.Resolution, error) {
		nics, err := binding.NICs()
		return binding.Resolve(c, nics), err
	}
}

func (w *world) spec(lun int) attach.Spec {
	s := attach.Spec{
		Target: targetIQN, LUN: lun, WWID: w.wwids[lun], Interfaces: []string{"san-a", "san-b"},
		Pairing: binding.PairingAuto, MinPaths: 2, Initiator: ourIQN,
	}
	for _, p := range w.Net.Portals {
		s.Portals = append(s.Portals, netip.AddrPortFrom(netip.MustParseAddr(p), 3260))
	}
	return s
}

func (w *world) attach(a *attach.Attacher, s attach.Spec) attach.Device {
	w.t.Helper()
	dev, err := a.Attach(w.ctx(), s)
	if err != nil {
		w.t.Fatal(err)
	}
	return dev
}

func (w *world) detach(a *attach.Attacher, wwid string) {
	w.t.Helper()
	if err := a.Detach(w.ctx(), wwid); err != nil {
		w.t.Fatal(err)
	}
}

// settle waits until udev and multipathd have nothing to do.
func (w *world) settle() {
	w.t.Helper()
	w.Run("udevadm", "settle", "-t", "60")
	w.Eventually(time.Minute, "multipathd has nothing to do", func() bool {
		busy, err := w.mpd.Busy(w.t.Context())
		return err == nil && !busy
	})
}

// wantActive fails the test unless the device has n paths and all are active.
func (w *world) wantActive(dev attach.Device, n int) {
	w.t.Helper()
	active := 0
	for _, p := range dev.Paths {
		if p.State == attach.StateActive {
			active++
		}
	}
	if active != n || len(dev.Paths) != n {
		w.t.Errorf("want %d active paths, have %+v", n, dev.Paths)
	}
}

// adopted waits until multipathd has the map with n paths that its checker likes.
func (w *world) adopted(wwid string, n int) time.Duration {
	w.t.Helper()
	id, _ := multipath.ID(wwid)
	return w.Eventually(time.Minute, "multipathd adopts "+id, func() bool {
		m, err := w.mpd.Map(w.t.Context(), id)
		ready := 0
		for _, p := range m.Paths() {
			if p.Checker == "ready" && p.DMState == "active" {
				ready++
			}
		}
		return err == nil && ready == n
	})
}

// kernelPaths is what the kernel's table has; -1 without a map.
func (w *world) kernelPaths(wwid string) int {
	id, _ := multipath.ID(wwid)
	t, err := w.dm.Table(multipath.UUID(id))
	if err != nil {
		return -1
	}
	return len(t.Paths())
}

func (w *world) read(dev string) error {
	f, err := os.Open(dev)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(make([]byte, 4096), 0)
	return err
}

// gone waits until nothing of the volume is there.
func (w *world) gone(wwid string) {
	w.t.Helper()
	if n := w.kernelPaths(wwid); n != -1 {
		w.t.Errorf("the map of %s is there with %d paths", wwid, n)
	}
	if disks, err := sysfs.Default.DisksByWWID(wwid); err != nil || len(disks) > 0 {
		w.t.Errorf("disks of %s are there: %+v, %v", wwid, disks, err)
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

func (w *world) mount(device, at string) {
	w.t.Helper()
	if err := unix.Mount(device, at, "ext4", 0, ""); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) unmount(at string) {
	w.t.Helper()
	if err := unix.Unmount(at, 0); err != nil {
		w.t.Fatal(err)
	}
}
