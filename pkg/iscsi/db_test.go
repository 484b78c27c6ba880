package iscsi

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	testPortalDir = "nodes/" + testTarget + "/192.0.2.1,3260,1"
	testRecord    = testPortalDir + "/pb-san-a"
)

func TestEnsureIface(t *testing.T) {
	l := newLab(t, nil)
	ensure := func() {
		t.Helper()
		if err := l.EnsureIface(t.Context(), testNode().Iface); err != nil {
			t.Fatal(err)
		}
	}
	want, err := ifaceRecord(testNode().Iface)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.db, "ifaces", "pb-san-a")
	steps := map[string]func(){
		"new":         func() {},
		"same":        func() {},
		"deleted":     func() { _ = os.Remove(path) },
		"wrong NIC":   func() { file(t, strings.Replace(string(want), "eth2", "eth0", 1), path) },
		"emptied":     func() { file(t, "", path) },
		"readable":    func() { _ = os.Chmod(path, 0o644) },
		"another one": func() { file(t, "x", l.db, "ifaces", "default") },
	}
	for name, spoil := range steps {
		spoil()
		ensure()
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: got %v, %v", name, info.Mode(), err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(l.db, "ifaces", "default")); err != nil || string(got) != "x" {
		t.Errorf("another's record: got %q, %v", got, err)
	}
}

func TestEnsureIfaceLeavesAnUnchangedFileAlone(t *testing.T) {
	l := newLab(t, nil)
	path := filepath.Join(l.db, "ifaces", "pb-san-a")
	var before os.FileInfo
	for range 2 {
		if err := l.EnsureIface(t.Context(), testNode().Iface); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !os.SameFile(before, info) {
			t.Error("written again")
		}
		before = info
	}
}

func TestEnsureNode(t *testing.T) {
	l := newLab(t, nil)
	file(t, "node.session.cmds_max = 512\n", l.conf)
	n := testNode()
	n.CHAP = &CHAP{User: "u", Secret: "topsecret"}
	if err := l.EnsureNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	want := map[string]os.FileMode{"iscsid.conf": 0o600, testRecord: 0o600}
	if diff := cmp.Diff(want, files(t, l.db)); diff != "" {
		t.Error(diff)
	}
	text, err := os.ReadFile(filepath.Join(l.db, testRecord))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"node.session.cmds_max = 512\n", "node.session.auth.password = topsecret\n", "node.tpgt = -1\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no %q in %s", line, text)
		}
	}
}

func TestEnsureNodeKeepsThePortalGroupTag(t *testing.T) {
	l := newLab(t, nil)
	dir := "nodes/" + testTarget + "/192.0.2.1,3260,"
	file(t, "old", l.db, dir+"1", "pb-san-a")
	file(t, "older", l.db, dir+"7", "pb-san-a")
	file(t, "another's", l.db, dir+"7", "default")
	if err := l.EnsureNode(t.Context(), testNode()); err != nil {
		t.Fatal(err)
	}
	want := map[string]os.FileMode{dir + "1/pb-san-a": 0o600, dir + "7/default": 0o600}
	if diff := cmp.Diff(want, files(t, l.db)); diff != "" {
		t.Error(diff)
	}
}

func TestNodesAndRemoval(t *testing.T) {
	l := newLab(t, nil)
	a := testNode()
	b := testNode()
	b.Iface.Interface = "san-b"
	six := testNode()
	six.Portal = netip.MustParseAddrPort("[2001:db8::1]:3260")
	for _, n := range []Node{a, b, six} {
		if err := l.EnsureNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	// Others' records, an old one without a tag, rubbish, and what a crash left.
	foreign := []string{testPortalDir + "/default", "nodes/iqn.2001-04.com.example:x/192.0.2.1,3260,1/default", "nodes/junk/x"}
	for _, name := range append(foreign, "nodes/"+testTarget+"/.portbind-1") {
		file(t, "x", l.db, name)
	}
	got, err := l.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []NodeID{a.ID(), b.ID(), six.ID()}
	comparePortals := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, got, comparePortals); diff != "" {
		t.Error(diff)
	}
	for _, id := range append(want, a.ID()) {
		if err := l.RemoveNode(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	left := files(t, l.db)
	for _, name := range foreign {
		if _, ok := left[name]; !ok {
			t.Errorf("%s was removed", name)
		}
	}
	if len(left) != len(foreign) {
		t.Errorf("left: %v", left)
	}
}

func TestRemovalTakesEmptyDirectories(t *testing.T) {
	l := newLab(t, nil)
	if err := errors.Join(l.EnsureNode(t.Context(), testNode()), l.RemoveNode(t.Context(), testNode().ID())); err != nil {
		t.Fatal(err)
	}
	if names, err := readDir(filepath.Join(l.db, "nodes")); err != nil || len(names) != 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

func TestRemoveIface(t *testing.T) {
	l := newLab(t, nil)
	if err := l.EnsureIface(t.Context(), testNode().Iface); err != nil {
		t.Fatal(err)
	}
	file(t, "x", l.db, "ifaces", "default")
	for range 2 {
		if err := l.RemoveIface(t.Context(), "san-a"); err != nil {
			t.Error(err)
		}
	}
	if err := l.RemoveIface(t.Context(), "../ifaces/default"); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(map[string]os.FileMode{"ifaces/default": 0o600}, files(t, l.db)); diff != "" {
		t.Error(diff)
	}
}

func TestRecordsWrittenAtOnce(t *testing.T) {
	l := newLab(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			err := errors.Join(l.EnsureIface(t.Context(), testNode().Iface), l.EnsureNode(t.Context(), testNode()))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := map[string]os.FileMode{"ifaces/pb-san-a": 0o600, testRecord: 0o600}
	if diff := cmp.Diff(want, files(t, l.db)); diff != "" {
		t.Error(diff)
	}
}

// The tag that a login settled is kept when the record is written anew; iscsiadm's file for records without one is
// removed, but only ours.
func TestEnsureNodeAfterAnUpdateByISCSIAdm(t *testing.T) {
	l := newLab(t, nil)
	n := testNode()
	settled, err := nodeRecord(n, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := bytes.Replace(settled, []byte("eth2"), []byte("eth0"), 1)
	file(t, string(spoilt), l.db, testRecord)
	untagged := filepath.Join(l.db, "nodes", testTarget, "192.0.2.1,3260")
	file(t, string(spoilt), untagged)
	if err := l.EnsureNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(l.db, testRecord)); err != nil || !bytes.Equal(got, settled) {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := os.Stat(untagged); !os.IsNotExist(err) {
		t.Errorf("the untagged record: %v", err)
	}
	file(t, strings.ReplaceAll(string(spoilt), "pb-san-a", "default"), untagged)
	if err := l.EnsureNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(untagged); err != nil {
		t.Errorf("another's untagged record: %v", err)
	}
}

// TestEnsureNodeKeepsSecrets repairs a record whose secrets the caller does not know.
func TestEnsureNodeKeepsSecrets(t *testing.T) {
	l := newLab(t, nil)
	n := testNode()
	n.CHAP = &CHAP{User: "u", Secret: "s3cret", TargetUser: "tu", TargetSecret: "ts3cret"}
	if err := l.EnsureNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.db, testRecord)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n.CHAP, n.KeepCHAP = nil, true
	for name, spoil := range map[string]func(){
		"same": func() {},
		"wrong NIC": func() {
			file(t, strings.Replace(string(want), "net_ifacename = eth2", "net_ifacename = eth0", 1), path)
		},
		"no NIC": func() { file(t, strings.Replace(string(want), "iface.net_ifacename = eth2\n", "", 1), path) },
	} {
		spoil()
		if err := l.EnsureNode(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	file(t, "\x00rubbish", path)
	if err := l.EnsureNode(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Contains(got, []byte("authmethod = None")) {
		t.Errorf("rubbish: got %q, %v", got, err)
	}
}
