package iscsi

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/hostexec"
)

const (
	loginLine  = "iscsiadm -m node -T " + testTarget + " -p 192.0.2.1:3260 -I pb-san-a --login"
	logoutLine = "iscsiadm -m session -r 7 --logout"
)

func TestLoginErrors(t *testing.T) {
	missing := &hostexec.Error{Name: "iscsiadm", ExitCode: -1, Err: exec.ErrNotFound}
	tests := []struct {
		name    string
		program error
		want    error
	}{
		{"accepted", nil, nil},
		{"exists", exit(15), nil},
		{"chap", exit(24), ErrAuth},
		{"no connection", exit(4), ErrUnreachable},
		{"timed out", exit(8), ErrTimeout},
		{"login timed out", exit(11), ErrTimeout},
		{"refused", exit(19), ErrRefused},
		{"iscsid", exit(20), ErrNotReady},
		{"no record", exit(21), ErrNoRecord},
		{"not installed", missing, ErrNotReady},
		{"cancelled", &hostexec.Error{Name: "iscsiadm", ExitCode: -1, Err: context.Canceled}, context.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, map[string]error{loginLine: test.program})
			if err := l.Login(t.Context(), testNode().ID()); !errors.Is(err, test.want) || (test.want == nil) != (err == nil) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What iscsiadm 2.1.8 prints of a wrong secret, and of anything that it has no number for.
func TestLoginErrorSaysWhereAndWhat(t *testing.T) {
	const where = "iscsi: login " + testTarget + " at 192.0.2.1:3260 on interface san-a: authentication failed: "
	for stderr, want := range map[string]string{
		"iscsiadm: Could not login to [iface: pb-san-a, target: " + testTarget + ", portal: 192.0.2.1,3260].\n" +
			"iscsiadm: initiator reported error (24 - iSCSI login failed due to authorization failure)\n" +
			"iscsiadm: Could not log into all portals": "iscsid: 24 - iSCSI login failed due to authorization failure",
		"iscsiadm: it failed": "iscsiadm: exit status 24: iscsiadm: it failed",
	} {
		l := newLab(t, map[string]error{loginLine: &hostexec.Error{Name: "iscsiadm", ExitCode: 24, Stderr: stderr}})
		if err := l.Login(t.Context(), testNode().ID()); err == nil || err.Error() != where+want || exitCode(err) != 24 {
			t.Errorf("got %v, want %s", err, where+want)
		}
	}
}

func TestLoginRefusesHostileNames(t *testing.T) {
	for _, target := range []string{"--login", "iqn.2026-11.io.example:t1\n", "", "../x"} {
		id := testNode().ID()
		id.Target = target
		if err := newLab(t, nil).Login(t.Context(), id); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v", target, err)
		}
	}
}

func TestLoginSettlesTheRecord(t *testing.T) {
	l := newLab(t, map[string]error{loginLine: nil})
	n := testNode()
	if err := l.EnsureNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	other := n.ID()
	other.Interface = "san-b"
	l.addSession(t, 1, other, "pb-san-b", "9")
	l.addSession(t, 2, n.ID(), "pb-san-a", "7")
	for range 2 {
		if err := l.Login(t.Context(), n.ID()); err != nil {
			t.Fatal(err)
		}
		if err := l.EnsureNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	got := files(t, l.db)
	if _, ok := got["nodes/"+testTarget+"/192.0.2.1,3260,7/pb-san-a"]; !ok || len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestLogout(t *testing.T) {
	id := testNode().ID()
	elsewhere := id
	elsewhere.Portal = netip.MustParseAddrPort("192.0.2.2:3260")
	another := id
	another.Target = "iqn.2026-11.io.example:t2"
	tests := []struct {
		name    string
		id      NodeID
		iface   string
		program error
		want    error
		ran     []string
	}{
		{"ours", id, "pb-san-a", nil, nil, []string{logoutLine}},
		{"gone meanwhile", id, "pb-san-a", exit(2), nil, []string{logoutLine}},
		{"no object", id, "pb-san-a", exit(21), nil, []string{logoutLine}},
		{"failed", id, "pb-san-a", exit(10), exit(10), []string{logoutLine}},
		{"reconnecting", id, "pb-san-a", exit(32), ErrBusy, []string{logoutLine}},
		{"another's iface", id, "default", nil, ErrNotOurs, nil},
		{"another interface", id, "pb-san-b", nil, ErrNotOurs, nil},
		{"another portal", elsewhere, "pb-san-a", nil, ErrNotOurs, nil},
		{"another target", another, "pb-san-a", nil, ErrNotOurs, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, map[string]error{logoutLine: test.program})
			l.addSession(t, 7, test.id, test.iface, "1")
			err := l.Logout(t.Context(), 7, id)
			var failed *hostexec.Error
			if test.want == nil && err != nil || test.want != nil && !errors.Is(err, test.want) && !errors.As(test.want, &failed) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(test.ran, l.host.ran); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLogoutOfNoSession(t *testing.T) {
	if err := newLab(t, nil).Logout(t.Context(), 7, testNode().ID()); err != nil {
		t.Error(err)
	}
}

// iscsiadm refuses to log out a session whose iface record is gone.
func TestLogoutRestoresTheIfaceRecord(t *testing.T) {
	l := newLab(t, map[string]error{logoutLine: nil})
	l.addSession(t, 7, testNode().ID(), "pb-san-a", "1")
	if err := l.Logout(t.Context(), 7, testNode().ID()); err != nil {
		t.Fatal(err)
	}
	if _, ok := files(t, l.db)["ifaces/pb-san-a"]; !ok {
		t.Error("no iface record")
	}
}

func TestReadyNamesWhatIsMissing(t *testing.T) {
	const modprobe = "modprobe iscsi_tcp"
	l := newLab(t, map[string]error{modprobe: &hostexec.Error{Name: "modprobe", ExitCode: 1, Stderr: "not found"}})
	if err := l.checkTransport(t.Context()); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "linux-modules-extra") {
		t.Errorf("module: got %v", err)
	}
	file(t, "", l.sys, "class/iscsi_transport/tcp/handle")
	if err := l.checkTransport(t.Context()); err != nil {
		t.Error(err)
	}
	const unix = "Num       RefCount Protocol Flags    Type St Inode Path\n" +
		"000000006a372063: 00000002 00000000 00010000 0001 01   285 @/org/kernel/linux/storage/multipathd\n"
	file(t, unix, l.proc, "thread-self/net/unix")
	if err := l.checkDaemon(); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "open-iscsi") {
		t.Errorf("daemon: got %v", err)
	}
	file(t, unix+"0000000076abbf42: 00000002 00000000 00010000 0001 01   276 @ISCSIADM_ABSTRACT_NAMESPACE\n", l.proc, "thread-self/net/unix")
	if err := l.checkDaemon(); err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	portal := netip.MustParseAddrPort(listener.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err = Probe(ctx, "lo", portal)
	if errors.Is(err, ErrUnreachable) && strings.Contains(err.Error(), "not permitted") {
		t.Skip("no permission to bind to a device: ", err)
	}
	if err != nil {
		t.Error(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Probe(ctx, "lo", portal); !errors.Is(err, ErrUnreachable) {
		t.Errorf("closed port: got %v", err)
	}
	if err := Probe(ctx, "no-such-nic", portal); !errors.Is(err, ErrUnreachable) {
		t.Errorf("no such NIC: got %v", err)
	}
	ended, end := context.WithTimeout(t.Context(), 0)
	defer end()
	if err := Probe(ended, "lo", portal); !errors.Is(err, ErrTimeout) {
		t.Errorf("ended: got %v", err)
	}
}

// iscsid does not say whether a target declined or could not prove itself.
func TestLoginRefusedWithMutualCHAP(t *testing.T) {
	for _, mutual := range []bool{false, true} {
		l := newLab(t, map[string]error{loginLine: exit(19)})
		n := testNode()
		n.CHAP = &CHAP{User: "u", Secret: "topsecret"}
		if mutual {
			n.CHAP.TargetUser, n.CHAP.TargetSecret = "t", "topsecret2"
		}
		if err := l.EnsureNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		err := l.Login(t.Context(), n.ID())
		if !errors.Is(err, ErrRefused) || errors.Is(err, ErrAuth) != mutual || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("mutual %t: got %v", mutual, err)
		}
	}
}
