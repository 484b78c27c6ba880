//go:build lab

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

// bare does by hand, and without a single needless program start, what the node plugin does: the yardstick. It uses
// multipathd's socket and system calls where an administrator would start programs, which makes it faster than a
// script: one start is 25 ms in User-Mode Linux.
type bare struct {
	e      *labenv.Env
	target string // IQN
	lun    int
	id     string // as multipathd writes the WWID
	stock  bool   // records say nothing about time-outs
	mpd    *multipath.Client
	dm     *multipath.DM
}

func newBare(e *labenv.Env, target string, lun int, id string) *bare {
	return &bare{e: e, target: target, lun: lun, id: id, mpd: multipath.NewClient(), dm: multipath.NewDM("/dev")}
}

// attach is scan, wait for the disks, wait for udev, add each path, wait until all are active, mount.
func (b *bare) attach(mountPoint string) *stopwatch {
	b.e.T.Helper()
	sessions := b.sessions()
	// As an administrator does once for each LUN (multipath -a), where find_multipaths is strict; it is not measured.
	check(b.e.T, multipath.HostWWIDs().Add(context.Background(), b.id))
	w := newStopwatch()
	b.scan(sessions)
	w.lap("scan")
	disks := b.waitDisks(sessions)
	w.lap("disks there")
	b.e.Run("udevadm", "settle")
	w.lap("udev")
	for _, d := range disks {
		_, _ = b.mpd.Do(context.Background(), "add path "+d) // "fail" when multipathd has it already
	}
	w.lap("add paths")
	b.waitActive(len(disks))
	w.lap("all paths active")
	if mountPoint != "" {
		device := "/dev/mapper/" + b.id
		b.wait("device link", func() bool { return exists(device) })
		w.lap("device link")
		check(b.e.T, unix.Mount(device, mountPoint, "ext4", 0, ""))
		w.lap("mount")
	}
	return w
}

// detach is unmount, flush the map, delete the disks.
func (b *bare) detach(mountPoint string) *stopwatch {
	b.e.T.Helper()
	sessions := b.sessions()
	disks := b.disks(sessions)
	w := newStopwatch()
	if mountPoint != "" {
		check(b.e.T, unix.Unmount(mountPoint, 0))
		w.lap("unmount")
	}
	b.e.Multipathd("del map " + b.id)
	w.lap("flush map")
	var all sync.WaitGroup
	for _, d := range disks {
		all.Go(func() { check(b.e.T, os.WriteFile("/sys/block/"+d+"/device/delete", []byte("1"), 0o200)) })
	}
	all.Wait()
	b.wait("no disks", func() bool { return len(b.disks(sessions)) == 0 })
	w.lap("delete disks")
	return w
}

func (b *bare) sessions() []sysfs.Session {
	b.e.T.Helper()
	all, err := sysfs.Default.Sessions()
	check(b.e.T, err)
	var ours []sysfs.Session
	for _, s := range all {
		if s.Target == b.target && s.LoggedIn() {
			ours = append(ours, s)
		}
	}
	if len(ours) == 0 {
		b.e.T.Fatalf("no session to %s", b.target)
	}
	return ours
}

func (b *bare) scan(sessions []sysfs.Session) {
	var all sync.WaitGroup
	for _, s := range sessions {
		path := fmt.Sprintf("/sys/class/scsi_host/host%d/scan", s.Host)
		all.Go(func() { check(b.e.T, os.WriteFile(path, fmt.Appendf(nil, "0 0 %d", b.lun), 0o200)) })
	}
	all.Wait()
}

func (b *bare) disks(sessions []sysfs.Session) []string {
	var names []string
	for _, s := range sessions {
		if d, err := sysfs.Default.SessionLUN(s.ID, b.lun); err == nil {
			names = append(names, d.Name)
		}
	}
	return names
}

func (b *bare) waitDisks(sessions []sysfs.Session) (names []string) {
	b.e.T.Helper()
	b.wait("a disk per session", func() bool {
		names = b.disks(sessions)
		return len(names) == len(sessions)
	})
	return names
}

func (b *bare) waitActive(want int) {
	b.e.T.Helper()
	b.wait(fmt.Sprintf("%d active paths in the map", want), func() bool { return activePaths(b.dm, b.id) == want })
}

func activePaths(dm *multipath.DM, id string) int {
	states, err := dm.PathStates(multipath.UUID(id))
	if err != nil {
		return 0
	}
	n := 0
	for _, s := range states {
		if s.Active {
			n++
		}
	}
	return n
}

// wait polls every 2 ms: the yardstick must not be long for its own waiting.
func (b *bare) wait(what string, ok func() bool) {
	b.e.T.Helper()
	waitFor(b.e.T, time.Minute, what, ok)
}

func waitFor(t *testing.T, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", timeout, what)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// login makes a session per NIC and portal by iscsiadm, all in one command: it logs in to all at once.
func (b *bare) login(initiator string, nics, portals []string) {
	b.e.T.Helper()
	b.records(initiator, nics, portals)
	b.loginAgain()
}

// loginAgain logs in with the records that are there.
func (b *bare) loginAgain() {
	b.e.T.Helper()
	b.e.Run("iscsiadm", "-m", "node", "-T", b.target, "--login")
}

// records makes what login needs, as files: making them is an administrator's one-time work and not measured.
func (b *bare) records(initiator string, nics, portals []string) {
	b.e.T.Helper()
	for _, nic := range nics {
		text := fmt.Sprintf("iface.iscsi_ifacename = bare-%s\niface.net_ifacename = %s\niface.transport_name = tcp\n"+
			"iface.initiatorname = %s\n", nic, nic, initiator)
		b.file("/etc/iscsi/ifaces/bare-"+nic, text)
		for _, portal := range portals {
			b.node(portal, "bare-"+nic, text)
		}
	}
}

// unbound makes the record of the default iface, whose sessions the routing table places.
func (b *bare) unbound(portal string) {
	b.e.T.Helper()
	b.node(portal, "default", "iface.iscsi_ifacename = default\niface.transport_name = tcp\n")
}

func (b *bare) node(portal, iface, ifaceText string) {
	b.e.T.Helper()
	text := "node.name = " + b.target + "\nnode.tpgt = 1\nnode.startup = manual\n" + ifaceText +
		"node.discovery_type = static\nnode.session.scan = manual\n"
	if !b.stock {
		text += "node.session.timeo.replacement_timeout = 5\n"
	}
	text += "node.conn[0].address = " + portal + "\nnode.conn[0].port = 3260\n"
	b.file(filepath.Join("/etc/iscsi/nodes", b.target, portal+",3260,1", iface), text)
}

func (b *bare) file(path, record string) {
	b.e.T.Helper()
	check(b.e.T, os.MkdirAll(filepath.Dir(path), 0o700))
	check(b.e.T, os.WriteFile(path, []byte("# BEGIN RECORD 2.1\n"+record+"# END RECORD\n"), 0o600))
}

// logout closes every session of the target and waits until the kernel has none.
func (b *bare) logout() {
	b.e.T.Helper()
	b.e.Run("iscsiadm", "-m", "node", "-T", b.target, "--logout")
	b.wait("no session", func() bool {
		for _, s := range labenv.Sessions() {
			if strings.EqualFold(s.Target, b.target) {
				return false
			}
		}
		return true
	})
}
