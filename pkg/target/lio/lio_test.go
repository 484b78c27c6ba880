package lio_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/lio/liotest"
)

const (
	iqn    = "iqn.2026-11.io.example:t"
	nodeA  = "iqn.2026-11.io.example:a"
	nodeB  = "iqn.2026-11.io.example:b"
	serial = "123456789abcdef0123456789"
	tpg    = "iscsi/" + iqn + "/tpgt_1"
)

func newTarget(t *testing.T, required bool) (*lio.Target, *liotest.Tree) {
	t.Helper()
	tree := liotest.New(t)
	target := lio.New(tree, lio.Config{
		IQN: iqn, CHAPRequired: required,
		Portals: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:3260"), netip.MustParseAddrPort("[fd00::1]:3260")},
	})
	ok(t, target.Prepare())
	return target, tree
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func attr(t *testing.T, tree *liotest.Tree, path, want string) {
	t.Helper()
	got, err := tree.Read(path)
	if err != nil || got != want {
		t.Errorf("%s is %q, %v; want %q", path, got, err, want)
	}
}

func volume(name string) lio.Volume {
	return lio.Volume{Name: name, Device: "/dev/vg/" + name, Serial: serial}
}

func mapping(initiator string, lun uint32) lio.Mapping {
	return lio.Mapping{Volume: "p:v", Initiator: initiator, LUN: lun, TPGLUN: lun}
}

func TestEnableIsLast(t *testing.T) {
	target, tree := newTarget(t, true)
	attr(t, tree, tpg+"/enable", "0")
	for name, want := range map[string]string{
		"authentication": "1", "generate_node_acls": "0", "cache_dynamic_acls": "0", "demo_mode_discovery": "0", "prod_mode_write_protect": "1",
	} {
		attr(t, tree, tpg+"/attrib/"+name, want)
	}
	tree.Changes()
	ok(t, target.Enable(t.Context()))
	want := []string{"mkdir " + tpg + "/np/10.0.0.1:3260", "mkdir " + tpg + "/np/[fd00::1]:3260", "write " + tpg + "/enable = 1"}
	if diff := cmp.Diff(want, tree.Changes()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	ok(t, target.Prepare())
	ok(t, target.Enable(t.Context()))
	if again := tree.Changes(); len(again) > 0 {
		t.Errorf("a second time changes %v", again)
	}
	moved := lio.New(tree, lio.Config{IQN: iqn, CHAPRequired: true, Portals: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:3260")}})
	ok(t, moved.Enable(t.Context()))
	if got, err := tree.Dirs(tpg + "/np"); err != nil || !slices.Equal(got, []string{"10.0.0.2:3260"}) {
		t.Errorf("portals %v, %v", got, err)
	}
}

func TestMapAndUnmap(t *testing.T) {
	target, tree := newTarget(t, false)
	before := tree.Objects("")
	ok(t, target.AddVolume(volume("p:v")))
	attr(t, tree, "core/iblock_1618/p:v/udev_path", "/dev/vg/p:v")
	attr(t, tree, "core/iblock_1618/p:v/wwn/vendor_id", "PORTBIND")
	attr(t, tree, "core/iblock_1618/p:v/attrib/emulate_tpu", "1")
	ok(t, target.Map(mapping(nodeA, 0)))
	readOnly := mapping(nodeB, 1)
	readOnly.ReadOnly = true
	ok(t, target.Map(readOnly))
	attr(t, tree, tpg+"/acls/"+nodeA+"/lun_0/write_protect", "0")
	attr(t, tree, tpg+"/acls/"+nodeB+"/lun_1/write_protect", "1")
	tree.Changes()
	ok(t, target.AddVolume(volume("p:v")))
	ok(t, target.Map(mapping(nodeA, 0)))
	if again := tree.Changes(); len(again) > 0 {
		t.Errorf("a second time changes %v", again)
	}
	if err := target.RemoveVolume("p:v"); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removed while exported: %v", err)
	}
	ok(t, target.Unmap(t.Context(), mapping(nodeA, 0)))
	want := []string{
		"unlink " + tpg + "/acls/" + nodeA + "/lun_0/link", "rmdir " + tpg + "/acls/" + nodeA + "/lun_0",
		"unlink " + tpg + "/lun/lun_0/link", "rmdir " + tpg + "/lun/lun_0",
	}
	if diff := cmp.Diff(want, tree.Changes()); diff != "" {
		t.Errorf("unmap (-want +got):\n%s", diff)
	}
	ok(t, target.Unmap(t.Context(), mapping(nodeA, 0)))
	ok(t, target.Unmap(t.Context(), readOnly))
	ok(t, target.RemoveVolume("p:v"))
	for _, n := range []string{nodeA, nodeB} {
		ok(t, target.Release(n, func() bool { return false }))
	}
	if diff := cmp.Diff(before, tree.Objects("")); diff != "" {
		t.Errorf("left over (-before +after):\n%s", diff)
	}
}

func TestWrongIdentity(t *testing.T) {
	target, _ := newTarget(t, false)
	ok(t, target.AddVolume(volume("p:v")))
	other := volume("p:v")
	other.Serial = strings.Repeat("f", 25)
	if err := target.AddVolume(other); err == nil {
		t.Error("served under another volume's serial")
	}
	ok(t, target.AddVolume(volume("p:w")))
	ok(t, target.Map(mapping(nodeA, 0)))
	wrong := mapping(nodeA, 0)
	wrong.Volume = "p:w"
	if err := target.Map(wrong); err == nil {
		t.Error("one LUN for two volumes")
	}
	short := volume("p:x")
	short.Serial = "1"
	if err := target.AddVolume(short); err == nil {
		t.Error("a short serial is taken")
	}
}

func TestCHAP(t *testing.T) {
	oneWay := &lio.CHAP{User: "alice", Secret: "secret-of-alice"}
	mutual := &lio.CHAP{User: "alice", Secret: "secret-of-alice", TargetUser: "bob", TargetSecret: "secret-of-bob"}
	target, tree := newTarget(t, false)
	ok(t, target.AddVolume(volume("p:v")))
	acl := tpg + "/acls/" + nodeA
	for _, step := range []struct {
		chap           *lio.CHAP
		authentication string
		auth           [4]string
	}{
		{nil, "0", [4]string{"", "", "", ""}},
		{mutual, "-1", [4]string{"alice", "secret-of-alice", "bob", "secret-of-bob"}},
		{oneWay, "-1", [4]string{"alice", "secret-of-alice", "NULL", "NULL"}},
		{nil, "0", [4]string{"NULL", "NULL", "NULL", "NULL"}},
	} {
		m := mapping(nodeA, 0)
		m.CHAP = step.chap
		ok(t, target.Map(m))
		attr(t, tree, acl+"/attrib/authentication", step.authentication)
		for i, name := range []string{"userid", "password", "userid_mutual", "password_mutual"} {
			attr(t, tree, acl+"/auth/"+name, step.auth[i])
		}
	}
	// The same ACL under chap: required: nobody without credentials.
	strict := lio.New(tree, lio.Config{IQN: iqn, CHAPRequired: true})
	ok(t, strict.Prepare())
	ok(t, strict.Map(mapping(nodeA, 0)))
	attr(t, tree, acl+"/attrib/authentication", "-1")
	attr(t, tree, tpg+"/attrib/authentication", "1")
}

func TestCHAPOnOldKernels(t *testing.T) {
	for _, required := range []bool{true, false} {
		tree := liotest.New(t)
		tree.OldKernel = true
		target := lio.New(tree, lio.Config{IQN: iqn, CHAPRequired: required})
		ok(t, target.Prepare())
		attr(t, tree, tpg+"/attrib/authentication", map[bool]string{true: "1", false: "0"}[required])
		ok(t, target.AddVolume(volume("p:v")))
		m := mapping(nodeA, 0)
		m.CHAP = &lio.CHAP{User: "alice", Secret: "secret-of-alice"}
		if err := target.Map(m); required != (err == nil) || !required && !errors.Is(err, lio.ErrUnsupported) {
			t.Errorf("required %t: %v", required, err)
		}
	}
}

func TestRelease(t *testing.T) {
	target, tree := newTarget(t, false)
	ok(t, target.AddVolume(volume("p:v")))
	ok(t, target.Map(mapping(nodeA, 0)))
	ok(t, target.Unmap(t.Context(), mapping(nodeA, 0)))
	here := func() bool {
		t.Helper()
		there, err := tree.Exists(tpg + "/acls/" + nodeA)
		ok(t, err)
		return there
	}
	ok(t, target.Release(nodeA, func() bool { return true }))
	if !here() {
		t.Error("released while in use")
	}
	tree.SetSession(iqn, nodeA, true)
	ok(t, target.Release(nodeA, func() bool { return false }))
	if !here() {
		t.Error("released with a session")
	}
	tree.SetSession(iqn, nodeA, false)
	ok(t, target.Release(nodeA, func() bool { return false }))
	if here() {
		t.Error("not released")
	}
	ok(t, target.Release(nodeA, func() bool { return false }))
}

func TestSweep(t *testing.T) {
	target, tree := newTarget(t, false)
	other := lio.New(tree, lio.Config{IQN: "iqn.2026-11.io.example:foreign"})
	ok(t, other.Prepare())
	foreign := []string{"core/iblock_0", "core/iblock_0/theirs", "iscsi/iqn.2026-11.io.example:foreign/tpgt_1/lun/lun_0"}
	for _, dir := range foreign {
		ok(t, tree.Mkdir(dir))
	}
	for i, name := range []string{"p:v", "p:w"} {
		ok(t, target.AddVolume(volume(name)))
		m := mapping(nodeA, uint32(i))
		m.Volume = name
		ok(t, target.Map(m))
	}
	keep := mapping(nodeA, 0)
	ok(t, target.Sweep(t.Context(), []lio.Mapping{keep}))
	have := tree.Objects("")
	for _, gone := range []string{"core/iblock_1618/p:w", tpg + "/lun/lun_1", tpg + "/acls/" + nodeA + "/lun_1"} {
		if slices.Contains(have, gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, stays := range append(foreign, "core/iblock_1618/p:v", tpg+"/lun/lun_0/link", tpg+"/acls/"+nodeA+"/lun_0/link") {
		if !slices.Contains(have, stays) {
			t.Errorf("%s is gone", stays)
		}
	}
	ok(t, target.Unmap(t.Context(), keep))
	ok(t, other.Retire(t.Context(), iqn))
	if there, err := target.Exists(); there || err != nil {
		t.Errorf("the retired target is there: %t, %v", there, err)
	}
}

// TestNoSecretInErrors: whatever attribute cannot be written.
func TestNoSecretInErrors(t *testing.T) {
	target, tree := newTarget(t, false)
	ok(t, target.AddVolume(volume("p:v")))
	tree.Refuse("/auth/password", unix.EIO)
	m := mapping(nodeA, 0)
	m.CHAP = &lio.CHAP{User: "alice", Secret: "secret-of-alice"}
	err := target.Map(m)
	if !errors.Is(err, unix.EIO) || strings.Contains(err.Error(), "secret-of-alice") {
		t.Errorf("got %v", err)
	}
}
