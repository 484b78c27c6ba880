package attach

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// timekeeper is open-iscsi as far as timers go.
type timekeeper struct {
	Initiator

	recorded map[iscsi.NodeID]iscsi.Timers
	live     map[int]iscsi.Timers
	wrote    int
}

func (k *timekeeper) KeepTimers(_ context.Context, id iscsi.NodeID, t iscsi.Timers) error {
	k.recorded[id] = t
	k.wrote++
	return nil
}

func (k *timekeeper) KeepNoop(_ context.Context, session int, t iscsi.Timers) (changed bool, err error) {
	changed = k.live[session] != t
	k.live[session] = t
	return changed, nil
}

// clock is an Attacher over sessions of targets t1 (7, and 8 which is down) and t2 (9), and one of somebody else to t1 (10).
func clock(t *testing.T) (*Attacher, *timekeeper) {
	t.Helper()
	k := &timekeeper{recorded: map[iscsi.NodeID]iscsi.Timers{}, live: map[int]iscsi.Timers{}}
	a := &Attacher{sys: sysfs.FS(t.TempDir()), cfg: Config{ISCSI: k, Timers: iscsi.FastTimers()}}
	addSession(t, a.sys, 7, "t1", "pb-san-a", sysfs.SessionLoggedIn)
	addSession(t, a.sys, 8, "t1", "pb-san-b", sysfs.SessionFailed)
	addSession(t, a.sys, 9, "t2", "pb-san-a", sysfs.SessionLoggedIn)
	addSession(t, a.sys, 10, "t1", "default", sysfs.SessionLoggedIn)
	return a, k
}

func addSession(t *testing.T, root sysfs.FS, number int, target, iface, state string) {
	t.Helper()
	session := fmt.Sprintf("session%d", number)
	dir := filepath.Join(string(root), "devices", fmt.Sprintf("host%d", number), session, "iscsi_session", session)
	class := filepath.Join(string(root), "class/iscsi_session", session)
	connection := filepath.Join(string(root), "class/iscsi_connection", fmt.Sprintf("connection%d:0", number))
	for _, d := range []string{dir, filepath.Dir(class), connection} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{
		filepath.Join(dir, "targetname"): target, filepath.Join(dir, "ifacename"): iface, filepath.Join(dir, "state"): state,
		filepath.Join(dir, "recovery_tmo"):              "5",
		filepath.Join(connection, "persistent_address"): "192.0.2.1", filepath.Join(connection, "persistent_port"): "3260",
	} {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, class); err != nil {
		t.Fatal(err)
	}
}

func timed(target, iface string) iscsi.NodeID {
	return iscsi.NodeID{Target: target, Interface: iface, Portal: netip.MustParseAddrPort("192.0.2.1:3260")}
}

func wishing(target, detection string) Spec {
	return Spec{Target: target, Policy: Policy{FailureDetection: detection}}
}

func (k *timekeeper) want(t *testing.T, a *Attacher, what string, timers iscsi.Timers, recovery int) {
	t.Helper()
	if err := a.keepTimers(t.Context(), "t1"); err != nil {
		t.Fatal(err)
	}
	both := map[iscsi.NodeID]iscsi.Timers{timed("t1", "san-a"): timers, timed("t1", "san-b"): timers}
	if diff := cmp.Diff(both, k.recorded, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Errorf("%s: recorded (-want +got):\n%s", what, diff)
	}
	if diff := cmp.Diff(map[int]iscsi.Timers{7: timers}, k.live); diff != "" {
		t.Errorf("%s: live (-want +got):\n%s", what, diff)
	}
	for id, want := range map[int]int{7: recovery, 8: 5, 9: 5, 10: 5} {
		s, err := a.sys.Session(id)
		if err != nil || s.RecoveryTimeout != want {
			t.Errorf("%s: session %d has recovery time %d, want %d (%v)", what, id, s.RecoveryTimeout, want, err)
		}
	}
}

// TestTimers: the most urgent wish of a target's volumes counts while the volume is attached, for sessions of ours to it, and no other.
func TestTimers(t *testing.T) {
	a, k := clock(t)
	slow, quick := iscsi.FastTimers(), iscsi.QuickTimers()
	a.timing.wish("naa.1", wishing("t1", ""))
	a.timing.wish("naa.9", wishing("t2", DetectFast))
	k.want(t, a, "no wish", slow, 5)
	a.timing.wish("naa.2", wishing("t1", DetectFast))
	k.want(t, a, "one of two", quick, 1)
	a.timing.wish("naa.3", wishing("t1", DetectFast))
	a.timing.wish("naa.2", wishing("t1", ""))
	k.want(t, a, "one is changed, another came", quick, 1)
	if target := a.timing.forget("naa.3"); target != "t1" {
		t.Errorf("forgot one of %q", target)
	}
	k.want(t, a, "all gone", slow, 5)
	if target := a.timing.forget("naa.1"); target != "" {
		t.Errorf("one without a wish was of %q", target)
	}
}

// TestTimersOfARecord: a record is looked at once, and again when it may have been written otherwise.
func TestTimersOfARecord(t *testing.T) {
	a, k := clock(t)
	k.want(t, a, "at first", iscsi.FastTimers(), 5)
	k.want(t, a, "again", iscsi.FastTimers(), 5)
	if k.wrote != 2 {
		t.Errorf("looked at %d records", k.wrote)
	}
	a.rewritten(timed("t1", "san-a"))
	k.want(t, a, "rewritten", iscsi.FastTimers(), 5)
	if k.wrote != 3 {
		t.Errorf("looked at %d records", k.wrote)
	}
}

// TestKeepUrgent: what iscsid has brought back with other timers gets those of its urgent volume; without one it can wait.
func TestKeepUrgent(t *testing.T) {
	a, k := clock(t)
	look := func() {
		t.Helper()
		a.takeBack(t.Context(), &returns{lost: map[int]bool{}, back: map[int]*comeback{}}, must(t, a.sys.Sessions))
	}
	look()
	if len(k.live) > 0 {
		t.Errorf("without a wish: %v", k.live)
	}
	a.timing.wish("naa.1", wishing("t1", DetectFast))
	look()
	if diff := cmp.Diff(map[int]iscsi.Timers{7: iscsi.QuickTimers()}, k.live); diff != "" {
		t.Error(diff)
	}
	clear(k.live)
	connection := filepath.Join(string(a.sys), "class/iscsi_connection/connection7:0")
	for _, file := range []string{"recv_tmo", "ping_tmo"} {
		if err := os.WriteFile(filepath.Join(connection, file), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look()
	if len(k.live) > 0 {
		t.Errorf("as it should be: %v", k.live)
	}
}

func must(t *testing.T, get func() ([]sysfs.Session, error)) []sysfs.Session {
	t.Helper()
	got, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestTimersTolerant: fast is fast on every node.
func TestTimersTolerant(t *testing.T) {
	a, _ := clock(t)
	a.cfg.Timers = iscsi.TolerantTimers()
	if got := a.timersOf("t1"); got != iscsi.TolerantTimers() {
		t.Errorf("%+v", got)
	}
	a.timing.wish("naa.1", wishing("t1", DetectFast))
	if got := a.timersOf("t1"); got != iscsi.QuickTimers() {
		t.Errorf("%+v", got)
	}
}

// TestRecoveryLeftAlone: what failfast has set to 0, or multipathd has written since, is theirs.
func TestRecoveryLeftAlone(t *testing.T) {
	a, _ := clock(t)
	set := func(seconds int) {
		t.Helper()
		if err := a.sys.SetRecoveryTimeout(7, seconds); err != nil {
			t.Fatal(err)
		}
	}
	keep := func(detection string, want int) {
		t.Helper()
		a.timing.wish("naa.1", wishing("t1", detection))
		if err := a.keepTimers(t.Context(), "t1"); err != nil {
			t.Fatal(err)
		}
		if s, err := a.sys.Session(7); err != nil || s.RecoveryTimeout != want {
			t.Errorf("%q: %d, want %d (%v)", detection, s.RecoveryTimeout, want, err)
		}
	}
	set(0)
	keep(DetectFast, 0)
	set(5)
	keep(DetectFast, 1)
	set(0)
	keep("", 0)
	set(9)
	keep("", 9)
	set(1)
	keep(DetectFast, 1)
}
