//go:build lab

package instant

import (
	"os"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	// plainConf is what a node has whose administrator changed nothing but what makes multipath take foreign LUNs at all.
	plainConf = "defaults {\n\tuser_friendly_names no\n\tfind_multipaths no\n}\n"
	stockIQN  = "iqn.2026-11.io.portbind.lab:stock"
	// maxFlapStall is for a NIC that flaps: the scorecard's row 4 wants no error, and this is what row 1 allows at the most.
	maxFlapStall = 7 * time.Second
)

// TestInstantFailover takes a NIC away in each way there is, under verified writes, and gives it back: scorecard rows 1 and 3.
// At the first loss another volume is written to over the same NICs and portals, by sessions of somebody else.
func TestInstantFailover(t *testing.T) {
	s := newScene(t)
	t.Run("sock_destroy", sockDestroy)
	foreign := newStock(s)
	first, second := s.Net.NICs[0], s.Net.NICs[1]
	s.away(first, "link cut", s.LinkDown, s.LinkUp, foreign)
	foreign.remove()
	s.away(second, "administratively down",
		func(nic string) { s.Run("ip", "link", "set", nic, "down") }, func(nic string) { s.Run("ip", "link", "set", nic, "up") }, nil)
	s.away(second, "NIC vanished", s.pull, s.plug, nil)
	got := failfast(t)
	want := map[string]string{`sessions_total{interface="san-a",outcome="cut"}`: "2", `sessions_total{interface="san-b",outcome="cut"}`: "4"}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("metric %s is %q; wanted %s", name, got[name], value)
		}
	}
	s.measured()
	s.killed(first)
	s.flaps(first)
	s.lastPath()
	s.finish()
}

// sockDestroy: where the kernel can destroy sockets, that is how it is done. Elsewhere iscsid's descriptors are borrowed, with
// which all else holds, too.
func sockDestroy(t *testing.T) {
	t.Log(failfast(t))
	labenv.Optional(t, labenv.SockDestroy)
	if got := failfast(t); got[`method{method="sock_destroy"}`] != "1" {
		t.Errorf("metrics: %v", got)
	}
}

// away takes a NIC away under load and gives it back.
func (s *scene) away(nic, what string, take, give func(nic string), foreign *stock) {
	s.t.Helper()
	before, noise := recoveryTimes(s.t), s.noise()
	take(nic)
	cut := time.Now()
	noticed := s.waitPaths(15*time.Second, allPaths/2)
	s.t.Logf("%s of %s: paths lost after %v", what, nic, noticed.Round(time.Millisecond))
	lasts := 4 * time.Second
	if foreign != nil {
		foreign.untouched(nic)
		lasts = foreign.patience()
	}
	time.Sleep(lasts - time.Since(cut))
	atMost(s.t, what+" of "+nic+": longest write", s.load.Stall(), maxStall+noise)
	if foreign != nil {
		s.t.Logf("%s of %s: longest write so far with stock settings: %v", what, nic, foreign.journal.Result().Stall.Round(time.Millisecond))
	}
	s.health(csi.VolumeHealthErrorType_DEGRADED, csi.StorageHealthErrorType_STORAGE_DEGRADED, s.ifaceOf(nic))
	give(nic)
	start := time.Now()
	s.waitPaths(30*time.Second, allPaths)
	atMost(s.t, nic+" back: all paths active", time.Since(start), maxReturn)
	s.restored(before)
	s.health(0, 0, "")
}

// restored waits for the sessions to have the recovery times that they had before.
func (s *scene) restored(before map[string]string) {
	s.t.Helper()
	took := s.Eventually(10*time.Second, "recovery times as before", func() bool {
		return cmp.Equal(before, recoveryTimes(s.t))
	})
	s.t.Logf("recovery times as before (%v) after %v", before, took.Round(time.Millisecond))
}

// pull takes a NIC out of the node; its cable stays in.
func (s *scene) pull(nic string) {
	s.Run("ip", "netns", "add", "drawer")
	s.t.Cleanup(func() { _, _ = s.Try("ip", "netns", "del", "drawer") })
	s.Run("ip", "link", "set", nic, "netns", "drawer")
}

// plug puts it in again; it has another index then.
func (s *scene) plug(nic string) {
	s.Run("ip", "-n", "drawer", "link", "set", nic, "netns", "1")
	s.Run("ip", "addr", "add", s.Net.Addrs[1]+"/24", "dev", nic)
	s.Run("ip", "link", "set", nic, "up")
}

// stock is a volume as one attaches it by hand, with all settings as Debian has them.
type stock struct {
	s       *scene
	wwid    string
	journal *labenv.Writer
}

func newStock(s *scene) *stock {
	s.t.Helper()
	f := &stock{s: s, wwid: s.stockWWID}
	for _, nic := range s.Net.NICs {
		s.Iface(nic)
		for _, portal := range s.Net.Portals {
			record := []string{"iscsiadm", "-m", "node", "-T", stockIQN, "-p", portal + ":3260", "-I", nic}
			s.Run(append(record, "-o", "new")...)
		}
		s.Run("iscsiadm", "-m", "node", "-T", stockIQN, "-I", nic, "--login")
	}
	s.Eventually(time.Minute, "the paths of the volume with stock settings", func() bool { return active(f.wwid) == allPaths })
	f.journal = s.Writer("/dev/mapper/" + f.wwid)
	s.Eventually(time.Minute, "writes with stock settings", func() bool { return f.journal.Result().Acked > 50 })
	f.journal.ResetStall()
	return f
}

// untouched: our sessions are lost, the others know of nothing yet.
func (f *stock) untouched(nic string) {
	f.s.t.Helper()
	f.s.Eventually(5*time.Second, "our sessions to be lost", func() bool { return loggedIn(nic, true) == 0 })
	if n := loggedIn(nic, false); n != len(f.s.Net.Portals) {
		f.s.t.Errorf("%d of somebody else's %d sessions on %s are left", n, len(f.s.Net.Portals), nic)
	}
}

// patience is how long the stock settings need to end their stall. Their number is taken where this is about numbers, on the
// kernel that can destroy sockets; test/bench has that of the other one.
func (f *stock) patience() time.Duration {
	if os.Getenv("LAB") == "qemu" {
		return 20 * time.Second
	}
	return 4 * time.Second
}

func (f *stock) remove() {
	f.s.t.Helper()
	f.s.Eventually(time.Minute, "all paths with stock settings", func() bool { return active(f.wwid) == allPaths })
	if r := f.journal.Stop(30 * time.Second); r.Err != nil {
		f.s.t.Error("with stock settings: ", r.Err)
	}
	f.s.Run("multipath", "-f", f.wwid)
	f.s.Run("iscsiadm", "-m", "node", "-T", stockIQN, "--logout")
	f.s.Run("iscsiadm", "-m", "node", "-T", stockIQN, "-o", "delete")
}

// killed kills the plugin while a NIC is away: the next one gives the sessions their recovery time back.
func (s *scene) killed(nic string) {
	s.t.Helper()
	before := recoveryTimes(s.t)
	s.LinkDown(nic)
	s.Eventually(15*time.Second, "sessions to be lost", func() bool { return loggedIn(nic, true) == 0 })
	s.Node.Kill()
	s.LinkUp(nic)
	s.waitPaths(30*time.Second, allPaths)
	s.t.Log("before the restart: ", recoveryTimes(s.t))
	s.Node.Start()
	s.restored(before)
}

// flaps lets a NIC flap faster than sessions can be made, and then slower.
func (s *scene) flaps(nic string) {
	s.t.Helper()
	before := recoveryTimes(s.t)
	s.load.Stall()
	s.flap(nic, 5, 300*time.Millisecond)
	s.flap(nic, 2, 2*time.Second)
	start := time.Now()
	s.waitPaths(30*time.Second, allPaths)
	atMost(s.t, nic+" back: all paths active", time.Since(start), maxReturn)
	atMost(s.t, "longest write while "+nic+" flaps", s.load.Stall(), maxFlapStall)
	s.restored(before)
}

func (s *scene) flap(nic string, times int, lasts time.Duration) {
	s.t.Helper()
	for range times {
		s.LinkDown(nic)
		time.Sleep(lasts)
		s.LinkUp(nic)
		time.Sleep(lasts)
	}
	s.t.Logf("%d times %v away: %v", times, lasts, failfast(s.t))
}

// lastPath takes away one NIC after the other, and gives both back: the second one is left to its timers.
func (s *scene) lastPath() {
	s.t.Helper()
	first, second := s.Net.NICs[0], s.Net.NICs[1]
	s.LinkDown(first)
	s.Eventually(15*time.Second, "sessions to be lost", func() bool { return loggedIn(first, true) == 0 })
	s.LinkDown(second)
	time.Sleep(time.Second)
	if n := loggedIn(second, true); n != len(s.Net.Portals) {
		s.t.Errorf("%d sessions are left of the last NIC", n)
	}
	s.LinkUp(second)
	s.LinkUp(first)
	start := time.Now()
	s.waitPaths(30*time.Second, allPaths)
	s.t.Logf("both NICs back: all paths active after %v", time.Since(start).Round(time.Millisecond))
	if got := failfast(s.t); got[`sessions_total{interface="san-b",outcome="spared"}`] != "2" {
		s.t.Errorf("metrics: %v", got)
	}
}
