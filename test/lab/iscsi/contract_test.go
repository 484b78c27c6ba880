//go:build lab

package iscsi

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

// Every line that we write must be read back by the real iscsiadm as it was written.
func TestRecordsAreReadBackAsWritten(t *testing.T) {
	s := newScene(t)
	n := node(s.matrix[0])
	n.CHAP = &iscsi.CHAP{User: "u", Secret: "it = #not, easy", TargetUser: "t", TargetSecret: "nor this"}
	s.records(n)
	for path, show := range map[string][]string{
		"/etc/iscsi/ifaces/pb-san-a": {"iscsiadm", "-m", "iface", "-I", "pb-san-a"},
		"/etc/iscsi/nodes/" + target + "/10.99.0.1,3260,1/pb-san-a": {
			"iscsiadm", "-m", "node", "-T", target, "-p", n.Portal.String(), "-I", "pb-san-a", "-S",
		},
	} {
		data, err := os.ReadFile(path)
		s.must(err)
		got := s.Run(show...)
		for line := range strings.SplitSeq(strings.TrimSpace(string(data)), "\n") {
			if !strings.HasPrefix(line, "#") && !strings.Contains("\n"+got+"\n", "\n"+line+"\n") {
				t.Errorf("%s: not read back: %q", path, line)
			}
		}
		if strings.Contains(got, "WARNING") {
			t.Errorf("%s", got)
		}
	}
	s.tearDown()
}

func TestSessionsOfTheWholeMatrix(t *testing.T) {
	s := newScene(t)
	wwid := "naa." + s.target.AddLUN(3, 64<<20)[1:]
	s.must(s.client.Ready(t.Context()))
	s.timed("for comparison: 4 times /bin/true at once", func() {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = s.host.Run(t.Context(), nil, "true") })
		}
		wg.Wait()
	})
	s.timed("first record (finds the data base)", func() { s.records(node(s.matrix[0])) })
	s.timed("4 iface and node records, new", func() {
		for _, pair := range s.matrix {
			s.records(node(pair))
		}
	})
	s.timed("4 iface and node records, unchanged", func() {
		for _, pair := range s.matrix {
			s.records(node(pair))
		}
	})
	s.timed("4 logins at once", s.loginAll)
	s.timed("the same again", s.loginAll)
	s.timed("read the sessions", func() { s.sessions() })
	sessions := s.sessions()
	if len(sessions) != 4 {
		t.Fatalf("got %d sessions", len(sessions))
	}
	for _, session := range sessions {
		want := map[string]string{"pb-san-a": "san0", "pb-san-b": "san1"}[session.Iface]
		if session.NIC != want || session.Initiator != initiator || !session.LoggedIn() || session.Portal != session.Persistent {
			t.Errorf("got %+v", session)
		}
		if noop := connection(session.ID, "recv_tmo") + "/" + connection(session.ID, "ping_tmo"); noop != "2/2" {
			t.Errorf("session %d: noop timers %s", session.ID, noop)
		}
		if disks, err := sysfs.Default.SessionDisks(session.ID); err != nil || len(disks) != 0 {
			t.Errorf("session %d: scanned at login: %v, %v", session.ID, disks, err)
		}
	}
	s.scanAndDelete(sessions, wwid)
	s.timed("log out and clean up", s.tearDown)
}

// scanAndDelete finds the LUN on each session by uevents and takes the disks away again.
func (s *scene) scanAndDelete(sessions []sysfs.Session, wwid string) {
	s.t.Helper()
	monitor, err := sysfs.NewMonitor()
	s.must(err)
	defer monitor.Close()
	s.timed("scan one LUN on 4 sessions, wait for disks", func() {
		for _, session := range sessions {
			s.must(sysfs.Default.ScanLUN(session.Host, 3))
		}
		s.must(monitor.Until(s.t.Context(), func() (bool, error) {
			disks, err := sysfs.Default.DisksByWWID(wwid)
			return len(disks) == 4, err
		}))
	})
	for _, session := range sessions {
		disk, err := sysfs.Default.SessionLUN(session.ID, 3)
		if err != nil || disk.WWID != wwid || disk.SizeBytes != 64<<20 || disk.State != sysfs.DiskRunning || disk.HCTL.Host != session.Host {
			s.t.Errorf("session %d: got %+v, %v", session.ID, disk, err)
		}
		s.must(sysfs.Default.RescanDisk(disk.Name))
	}
	s.timed("delete 4 disks", func() {
		disks, err := sysfs.Default.DisksByWWID(wwid)
		s.must(err)
		for _, disk := range disks {
			s.must(sysfs.Default.DeleteDisk(disk.Name))
			s.must(sysfs.Default.DeleteDisk(disk.Name))
		}
	})
	if disks, err := sysfs.Default.DisksByWWID(wwid); err != nil || len(disks) != 0 {
		s.t.Errorf("left: %v, %v", disks, err)
	}
}

// Scorecard row 21: the record is made right again, and a session never goes out of another NIC.
func TestIfaceRecordDeletedOrForTheWrongNIC(t *testing.T) {
	s := newScene(t)
	n := node(s.matrix[0])
	path := "/etc/iscsi/ifaces/pb-san-a"
	spoil := map[string]func(){
		"deleted": func() { s.must(os.Remove(path)) },
		"wrong NIC": func() {
			s.Run("iscsiadm", "-m", "iface", "-I", "pb-san-a", "-o", "update", "-n", "iface.net_ifacename", "-v", "san1")
		},
		"wrong NIC in the node record": func() {
			file := "/etc/iscsi/nodes/" + target + "/" + n.Portal.Addr().String() + ",3260,1/pb-san-a"
			data, err := os.ReadFile(file)
			s.must(err)
			s.must(os.WriteFile(file, bytes.ReplaceAll(data, []byte("= san0"), []byte("= san1")), 0o600))
		},
	}
	for name, f := range spoil {
		s.records(n)
		f()
		s.records(n)
		s.must(s.client.Login(t.Context(), n.ID()))
		sessions := s.sessions()
		if len(sessions) != 1 || sessions[0].NIC != "san0" || connection(sessions[0].ID, "address") != n.Portal.Addr().String() {
			t.Errorf("%s: got %+v", name, sessions)
		}
		// It is deleted once more, under the session: Logout still works.
		s.must(os.Remove(path))
		s.must(s.client.Logout(t.Context(), sessions[0].ID, n.ID()))
	}
	s.tearDown()
}

// Without its iface record a login fails; it does not fall back to the default NIC.
func TestLoginWithoutIfaceRecordFails(t *testing.T) {
	s := newScene(t)
	n := node(s.matrix[0])
	s.records(n)
	s.must(s.client.RemoveIface(t.Context(), "san-a"))
	if err := s.client.Login(t.Context(), n.ID()); err == nil || len(s.sessions()) != 0 {
		t.Errorf("got %v, sessions %+v", err, s.sessions())
	}
	s.tearDown()
}

func TestSessionsOfOthersStayUntouched(t *testing.T) {
	s := newScene(t)
	s.Iface("san0")
	s.Run("iscsiadm", "-m", "discovery", "-t", "st", "-p", s.Net.Portals[0], "-I", "san0")
	s.Run("iscsiadm", "-m", "node", "-T", target, "-p", s.Net.Portals[0]+":3260", "-I", "san0", "--login")
	foreign := labenv.Sessions()
	if len(foreign) != 1 {
		t.Fatalf("got %+v", foreign)
	}
	s.loginAll()
	if err := s.client.Logout(t.Context(), foreign[0].ID, node(s.matrix[0]).ID()); !errors.Is(err, iscsi.ErrNotOurs) {
		t.Errorf("logout of another's session: got %v", err)
	}
	for _, session := range s.sessions() {
		s.must(s.client.Logout(t.Context(), session.ID, id(session)))
		s.must(s.client.RemoveNode(t.Context(), id(session)))
	}
	left := labenv.Sessions()
	if len(left) != 1 || left[0] != foreign[0] {
		t.Errorf("got %+v, want %+v", left, foreign)
	}
	record := "/etc/iscsi/nodes/" + target + "/" + s.Net.Portals[0] + ",3260,1/san0"
	if _, err := os.Stat(record); err != nil {
		t.Error(err)
	}
	s.Run("iscsiadm", "-m", "session", "-r", strconv.Itoa(foreign[0].ID), "-u")
	s.tearDown()
}

// What iscsid knows of a session it reads from the record when it starts: the record must be where it looks.
func TestTimersSurviveARestartOfISCSID(t *testing.T) {
	s := newScene(t)
	n := node(s.matrix[0])
	s.records(n)
	dir := "/etc/iscsi/nodes/" + target + "/" + n.Portal.Addr().String() + ",3260,"
	s.must(os.Rename(dir+"1", dir+"9")) // a portal whose group tag we did not know
	s.must(s.client.Login(t.Context(), n.ID()))
	if _, err := os.Stat(dir + "1/pb-san-a"); err != nil {
		t.Errorf("the record is not under the target's tag: %v", err)
	}
	session := s.sessions()[0].ID
	port := connection(session, "local_port")
	s.daemon.ISCSID.Restart()
	// iscsid makes every connection anew.
	s.Eventually(20*time.Second, "session back", func() bool {
		now := connection(session, "local_port")
		return now != "" && now != port && s.loggedIn() == 1
	})
	if noop := connection(session, "recv_tmo") + "/" + connection(session, "ping_tmo"); noop != "2/2" {
		t.Errorf("noop timers %s", noop)
	}
	if after := s.sessions()[0]; after.NIC != "san0" || after.Iface != "pb-san-a" || after.Initiator != initiator {
		t.Errorf("got %+v", after)
	}
	s.tearDown()
}

func TestLinkLossIsNoticed(t *testing.T) {
	s := newScene(t)
	s.loginAll()
	s.LinkDown("san0")
	took := s.Eventually(6*time.Second, "sessions of the NIC failed", func() bool {
		failed := 0
		for _, session := range s.sessions() {
			if !session.LoggedIn() && session.NIC == "san0" {
				failed++
			}
		}
		return failed == 2
	})
	t.Logf("both sessions failed after %s", took)
	if n := s.loggedIn(); n != 2 {
		t.Errorf("%d sessions logged in", n)
	}
	for _, session := range s.sessions() {
		if !session.LoggedIn() && (session.Portal.IsValid() || !session.Persistent.IsValid()) {
			t.Errorf("got %+v", session)
		}
	}
	s.LinkUp("san0")
	took = s.Eventually(10*time.Second, "all sessions back", func() bool { return s.loggedIn() == 4 })
	t.Logf("all sessions back after %s", took)
	s.tearDown()
}

func TestLoginErrors(t *testing.T) {
	s := newScene(t)
	pair := s.matrix[0]

	// LIO says "service unavailable" (03/01), and iscsid tries again for as long as a login may take.
	unknown := node(pair)
	unknown.Target = "iqn.2026-11.io.portbind.lab:nobody"
	s.failedLogin("unknown target", unknown, iscsi.ErrTimeout, 20*time.Second)

	// So it does when the connection is refused. A probe knows at once.
	closed := node(pair)
	closed.Portal = portalAt(pair.Portal.Addr().String(), 3999)
	s.failedLogin("closed port", closed, iscsi.ErrTimeout, 20*time.Second)
	s.failedProbe("closed port", closed, iscsi.ErrUnreachable)
	s.timed("probe of a portal", func() { s.must(iscsi.Probe(t.Context(), pair.Interface.NIC, pair.Portal)) })

	s.Drop("san0")
	s.failedLogin("packets vanish", node(pair), iscsi.ErrTimeout, 20*time.Second)
	s.failedProbe("packets vanish", node(pair), iscsi.ErrTimeout)
	s.must(iscsi.Probe(t.Context(), "san1", pair.Portal))
	s.Undrop("san0")

	missing := node(pair)
	s.must(s.client.RemoveNode(t.Context(), missing.ID()))
	if err := s.client.Login(t.Context(), missing.ID()); !errors.Is(err, iscsi.ErrNoRecord) {
		t.Errorf("no record: got %v", err)
	}
	s.tearDown()
}

func (s *scene) failedLogin(what string, n iscsi.Node, want error, limit time.Duration) {
	s.t.Helper()
	s.records(n)
	took := s.timed("login: "+what, func() {
		if err := s.client.Login(s.t.Context(), n.ID()); !errors.Is(err, want) {
			s.t.Errorf("%s: got %v, want %v", what, err, want)
		} else {
			s.t.Log(err)
		}
	})
	if took > limit {
		s.t.Errorf("%s: took %s", what, took)
	}
	if sessions := s.sessions(); len(sessions) != 0 {
		s.t.Errorf("%s: left %+v", what, sessions)
	}
}

func (s *scene) failedProbe(what string, n iscsi.Node, want error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 300*time.Millisecond)
	defer cancel()
	took := s.timed("probe: "+what, func() {
		if err := iscsi.Probe(ctx, n.Iface.NIC, n.Portal); !errors.Is(err, want) {
			s.t.Errorf("%s: got %v, want %v", what, err, want)
		}
	})
	if took > time.Second {
		s.t.Errorf("%s: took %s", what, took)
	}
}

func TestNotReadyWithoutISCSID(t *testing.T) {
	s := newScene(t)
	s.must(s.client.Ready(t.Context()))
	s.daemon.ISCSID.Stop()
	if err := s.client.Ready(t.Context()); !errors.Is(err, iscsi.ErrNotReady) || !strings.Contains(err.Error(), "open-iscsi") {
		t.Errorf("got %v", err)
	}
	s.daemon.ISCSID.Start()
	s.must(s.client.Ready(t.Context()))
}
