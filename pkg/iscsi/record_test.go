package iscsi

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testTarget = "iqn.2026-11.io.example:t1"

func testNode() Node {
	return Node{
		Target: testTarget, Portal: netip.MustParseAddrPort("192.0.2.1:3260"),
		Iface:  Iface{Interface: "san-a", NIC: "eth2", Initiator: "iqn.2026-11.io.portbind:n1"},
		Timers: FastTimers(),
	}
}

// golden compares with a file of testdata; UPDATE=1 writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestRecords(t *testing.T) {
	mutual := testNode()
	mutual.Portal = netip.MustParseAddrPort("[2001:db8::1]:860")
	mutual.Timers = Timers{NoopInterval: 5 * time.Second, NoopTimeout: 5 * time.Second, Replacement: 5 * time.Second, Login: 15 * time.Second}
	mutual.CHAP = &CHAP{User: "initiator", Secret: "a secret, of #odd = things", TargetUser: "target", TargetSecret: "its secret"}
	conf, err := os.ReadFile("testdata/iscsid.conf")
	if err != nil {
		t.Fatal(err)
	}
	iface, err := ifaceRecord(testNode().Iface)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "iface.record", iface)
	for name, node := range map[string]Node{"node.record": testNode(), "mutual.record": mutual} {
		data, err := nodeRecord(node, unknownTag, parseTuning(conf))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, data)
	}
}

func TestRecordsRefuse(t *testing.T) {
	long := strings.Repeat("x", 10<<10)
	tests := map[string]func(*Node){
		"target":            func(n *Node) { n.Target = "../../etc/cron.d/x" },
		"target upper case": func(n *Node) { n.Target = "iqn.2026-11.io.example:T1" },
		"target newline":    func(n *Node) { n.Target += "\nnode.startup = automatic" },
		"no portal":         func(n *Node) { n.Portal = netip.AddrPort{} },
		"portal zone":       func(n *Node) { n.Portal = netip.MustParseAddrPort("[fe80::1%../../x]:3260") },
		"portal 4in6":       func(n *Node) { n.Portal = netip.MustParseAddrPort("[::ffff:192.0.2.1]:3260") },
		"portal port 0":     func(n *Node) { n.Portal = netip.MustParseAddrPort("192.0.2.1:0") },
		"interface":         func(n *Node) { n.Iface.Interface = "../default" },
		"interface empty":   func(n *Node) { n.Iface.Interface = "" },
		"interface long":    func(n *Node) { n.Iface.Interface = long },
		"nic":               func(n *Node) { n.Iface.NIC = "eth0\niface.transport_name = iser" },
		"nic empty":         func(n *Node) { n.Iface.NIC = "" },
		"nic dash":          func(n *Node) { n.Iface.NIC = "-I" },
		"initiator":         func(n *Node) { n.Iface.Initiator = "" },
		"chap newline":      func(n *Node) { n.CHAP = &CHAP{User: "u", Secret: "top\nsecret"} },
		"chap blank":        func(n *Node) { n.CHAP = &CHAP{User: "u", Secret: "topsecret "} },
		"chap empty":        func(n *Node) { n.CHAP = &CHAP{User: "u"} },
		"chap long":         func(n *Node) { n.CHAP = &CHAP{User: "u", Secret: "topsecret" + long} },
		"chap half mutual":  func(n *Node) { n.CHAP = &CHAP{User: "u", Secret: "topsecret", TargetUser: "t"} },
		"timer 0":           func(n *Node) { n.Timers.NoopInterval = 0 },
		"timer fraction":    func(n *Node) { n.Timers.Login = 1500 * time.Millisecond },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			n := testNode()
			spoil(&n)
			err := l.EnsureNode(t.Context(), n)
			if !errors.Is(err, ErrInvalid) || len(err.Error()) > 700 {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "topsecret") {
				t.Errorf("a secret in %v", err)
			}
			if got := files(t, l.db); len(got) != 0 {
				t.Errorf("files: %v", got)
			}
		})
	}
}

func TestCHAPDoesNotPrintItself(t *testing.T) {
	n := testNode()
	n.CHAP = &CHAP{User: "u", Secret: "topsecret"}
	for _, text := range []string{n.CHAP.String(), n.CHAP.GoString()} {
		if strings.Contains(text, "topsecret") {
			t.Error(text)
		}
	}
}

func TestParseTuning(t *testing.T) {
	text := strings.Join([]string{
		"# node.session.cmds_max = 1", "node.session.cmds_max = 128", "  node.session.queue_depth=64  ", "node.session.cmds_max = 256",
		"node.startup = automatic", "node.session.scan = auto", "node.session.auth.password = x", "node.session.nr_sessions = 4",
		"node.session.iscsi. = 1", "node.session.iscsi.ImmediateData =", "node.session.iscsi.a b = 1",
		"node.conn[0].timeo.noop_out_interval = 9",
		"node.conn[0].iscsi.HeaderDigest = CRC32C,None", "iscsid.startup = /bin/false", "junk",
	}, "\n")
	want := []setting{
		{"node.session.queue_depth", "64"}, {"node.session.cmds_max", "256"}, {"node.conn[0].iscsi.HeaderDigest", "CRC32C,None"},
	}
	if diff := cmp.Diff(want, parseTuning([]byte(text)), cmp.AllowUnexported(setting{})); diff != "" {
		t.Error(diff)
	}
}

// What goes into a record must come out of a parser that works by lines, key for key.
func FuzzRecord(f *testing.F) {
	f.Add("user", "secret", []byte("node.session.cmds_max = 128\n"))
	f.Add("a\nb", "x\r", []byte("node.session.iscsi.x = \x00\n"))
	f.Fuzz(func(t *testing.T, user, secret string, conf []byte) {
		n := testNode()
		n.CHAP = &CHAP{User: user, Secret: secret}
		data, err := nodeRecord(n, 7, parseTuning(conf))
		if err != nil {
			return
		}
		got := map[string]string{}
		for line := range strings.SplitSeq(strings.TrimSuffix(string(data), "\n"), "\n") {
			if key, value, ok := strings.Cut(line, " = "); ok {
				got[key] = value
			} else if !strings.HasPrefix(line, "# ") {
				t.Errorf("line %q", line)
			}
		}
		if got["node.session.auth.username"] != user || got["node.session.auth.password"] != secret ||
			got["node.startup"] != "manual" || got["node.session.scan"] != "manual" || got["iface.net_ifacename"] != "eth2" {
			t.Errorf("got %q", data)
		}
	})
}

func FuzzParsePortalDir(f *testing.F) {
	f.Add("192.0.2.1,3260,1")
	f.Add("2001:db8::1,3260,65535")
	f.Fuzz(func(t *testing.T, name string) {
		portal, tag, ok := parsePortalDir(name)
		if ok && (strings.Count(name, ",") != 2 || tag < 0 || tag > maxTag) {
			t.Errorf("%q: got %s", name, portal)
		}
	})
}
