package sysfs

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var comparePortals = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func TestSessions(t *testing.T) {
	got, err := tree(t, "up.tree").Sessions()
	if err != nil {
		t.Fatal(err)
	}
	one := netip.MustParseAddrPort("10.99.0.1:3260")
	two := netip.MustParseAddrPort("10.99.0.2:3260")
	session := func(id int, iface, nic string, portal netip.AddrPort) Session {
		return Session{
			ID: id, Host: id - 1, Target: "iqn.2026-11.io.example:t1", TPGT: 1, Iface: iface, NIC: nic,
			Initiator: "iqn.2026-11.io.portbind:n1", State: SessionLoggedIn, RecoveryTimeout: 3600,
			Portal: portal, Persistent: portal,
		}
	}
	want := []Session{
		session(1, "pb-san-a", "san0", one), session(2, "pb-san-a", "san0", two),
		session(3, "pb-san-b", "san1", one), session(4, "pb-san-b", "san1", two),
	}
	if diff := cmp.Diff(want, got, comparePortals); diff != "" {
		t.Error(diff)
	}
}

// The captured trees are older than what reads these.
func TestSessionNoop(t *testing.T) {
	f := tree(t, "up.tree")
	for name, text := range map[string]string{"recv_tmo": "2\n", "ping_tmo": "3\n"} {
		if err := os.WriteFile(f.path("class/iscsi_connection/connection1:0", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := f.Session(1); err != nil || s.NoopInterval != 2 || s.NoopTimeout != 3 {
		t.Errorf("%d+%d, %v", s.NoopInterval, s.NoopTimeout, err)
	}
}

// Of sessions whose links were cut: two beyond their recovery timeout, two within it.
func TestSessionsThatLostTheirConnection(t *testing.T) {
	sessions, err := tree(t, "failed.tree").Sessions()
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, s := range sessions {
		states = append(states, s.State)
		if s.LoggedIn() || s.Portal.IsValid() {
			t.Errorf("session %d: LoggedIn %t, Portal %s", s.ID, s.LoggedIn(), s.Portal)
		}
		if !s.Persistent.IsValid() || s.NIC == "" {
			t.Errorf("session %d: Persistent %s, NIC %q", s.ID, s.Persistent, s.NIC)
		}
	}
	if diff := cmp.Diff([]string{SessionFree, SessionFree, SessionFailed, SessionFailed}, states); diff != "" {
		t.Error(diff)
	}
}

func TestSessionThatVanishesWhileItIsRead(t *testing.T) {
	f := tree(t, "up.tree")
	remove(t, f, "devices/platform/host0/session1/iscsi_session/session1/state")
	remove(t, f, "devices/platform/host1/session2")
	sessions, err := f.Sessions()
	if err != nil || len(sessions) != 2 {
		t.Fatalf("got %d sessions, %v", len(sessions), err)
	}
	if _, err := f.Session(1); !errors.Is(err, ErrGone) {
		t.Errorf("half a session: got %v", err)
	}
	if _, err := f.Session(99); !errors.Is(err, ErrGone) {
		t.Errorf("no session: got %v", err)
	}
}

func TestSessionsWithoutTheModule(t *testing.T) {
	sessions, err := FS(t.TempDir()).Sessions()
	if err != nil || len(sessions) != 0 {
		t.Errorf("got %v, %v", sessions, err)
	}
}

func TestSetRecoveryTimeout(t *testing.T) {
	f := tree(t, "up.tree")
	if err := f.SetRecoveryTimeout(2, 0); err != nil {
		t.Fatal(err)
	}
	// The tree's file is longer than what was written: the kernel takes each write as a whole, a file does not.
	if got := content(t, f, "class/iscsi_session/session2/recovery_tmo"); got[0] != '0' {
		t.Errorf("got %q", got)
	}
	if err := f.SetRecoveryTimeout(99, 0); !errors.Is(err, ErrGone) {
		t.Errorf("no session: got %v", err)
	}
}
