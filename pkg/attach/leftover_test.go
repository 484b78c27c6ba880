package attach

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// recordsOnly is an Initiator that has records, and whose removal is all that may be asked of it.
type recordsOnly struct {
	Initiator

	nodes  []iscsi.NodeID
	ifaces []string // removed
}

func (r *recordsOnly) Nodes(context.Context) ([]iscsi.NodeID, error) {
	return slices.Clone(r.nodes), nil
}

func (r *recordsOnly) RemoveNode(_ context.Context, id iscsi.NodeID) error {
	r.nodes = slices.DeleteFunc(r.nodes, func(n iscsi.NodeID) bool { return n == id })
	return nil
}

func (r *recordsOnly) RemoveIface(_ context.Context, name string) error {
	r.ifaces = append(r.ifaces, name)
	return nil
}

func record(target, iface string) iscsi.NodeID {
	return iscsi.NodeID{Target: target, Interface: iface, Portal: netip.MustParseAddrPort("192.0.2.1:3260")}
}

// sessionsOf is a sysfs with a session of an iface to a target.
func sessionsOf(t *testing.T, iface, target string) sysfs.FS {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "devices/platform/host1/session1/iscsi_session/session1")
	for _, d := range []string{dir, filepath.Join(root, "class/iscsi_session")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"targetname": target, "ifacename": iface, "state": "LOGGED_IN"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(root, "class/iscsi_session/session1")
	if err := os.Symlink("../../devices/platform/host1/session1/iscsi_session/session1", link); err != nil {
		t.Fatal(err)
	}
	return sysfs.FS(root)
}

// TestLeftovers: the records of a target stay while a session, a volume or an attach needs them.
func TestLeftovers(t *testing.T) {
	used, refused := record("iqn.used", "san-a"), record("iqn.refused", "san-a")
	other := record("iqn.refused", "san-b")
	all := []iscsi.NodeID{refused, other, used}
	for name, c := range map[string]struct {
		sys    sysfs.FS
		specs  []Spec
		busy   string
		nodes  []iscsi.NodeID
		ifaces []string
	}{
		"refused":              {sessionsOf(t, "pb-san-a", "iqn.used"), nil, "", []iscsi.NodeID{used}, []string{"san-b"}},
		"another's volume":     {sessionsOf(t, "pb-san-a", "iqn.used"), []Spec{{Target: "iqn.used"}}, "", []iscsi.NodeID{used}, []string{"san-b"}},
		"a volume is there":    {sessionsOf(t, "pb-san-a", "iqn.used"), []Spec{{Target: "iqn.refused"}}, "", all, nil},
		"a session is there":   {sessionsOf(t, "pb-san-b", "iqn.refused"), []Spec{{Target: "iqn.used"}}, "", all, nil},
		"an attach is on":      {sessionsOf(t, "pb-san-a", "iqn.used"), nil, "iqn.refused", all, nil},
		"a stranger's session": {sessionsOf(t, "default", "iqn.refused"), []Spec{{Target: "iqn.used"}}, "", all, nil},
	} {
		t.Run(name, func(t *testing.T) {
			db := &recordsOnly{nodes: slices.Clone(all)}
			a := &Attacher{sys: c.sys, records: newRecords(db)}
			a.records.written = map[iscsi.NodeID]iscsi.Node{used: {}, refused: {}}
			if c.busy != "" {
				release, err := a.targets.Share(t.Context(), c.busy)
				if err != nil {
					t.Fatal(err)
				}
				defer release()
			}
			if err := a.forgetLeftovers(t.Context(), all, c.specs); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.nodes, db.nodes, cmp.Comparer(func(a, b iscsi.NodeID) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.ifaces, db.ifaces); diff != "" {
				t.Error(diff)
			}
			if _, kept := a.records.written[refused]; kept != slices.Contains(c.nodes, refused) {
				t.Errorf("its secret is kept in memory: %v", kept)
			}
		})
	}
}
