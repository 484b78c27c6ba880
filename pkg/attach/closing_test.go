package attach

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
)

// TestForgetRetired: records of an interface that is not used go, but for those that a session needs, or an attach may.
func TestForgetRetired(t *testing.T) {
	a1, a2 := record("iqn.one", "san-a"), record("iqn.two", "san-a")
	b1, c1, x1 := record("iqn.one", "san-b"), record("iqn.one", "san-c"), record("iqn.one", "san-x")
	all := []iscsi.NodeID{a1, a2, b1, c1, x1}
	for name, c := range map[string]struct {
		drained []string
		iface   string // of the session to iqn.one
		busy    string
		gone    []iscsi.NodeID
		ifaces  []string
	}{
		"not configured":           {nil, "pb-san-b", "", []iscsi.NodeID{x1}, []string{"san-x"}},
		"drained":                  {[]string{"san-a"}, "pb-san-b", "", []iscsi.NodeID{a1, a2, x1}, []string{"san-a", "san-x"}},
		"an attach is in flight":   {[]string{"san-a"}, "pb-san-b", "iqn.one", []iscsi.NodeID{a2}, nil},
		"without a NIC, for now":   {[]string{"san-b"}, "pb-san-a", "", []iscsi.NodeID{b1, x1}, []string{"san-b", "san-x"}},
		"nothing but a NIC absent": {nil, "pb-san-x", "", []iscsi.NodeID{x1}, []string{"san-x"}}, // the session has no portal
	} {
		t.Run(name, func(t *testing.T) {
			db := &recordsOnly{nodes: slices.Clone(all)}
			a := &Attacher{sys: sessionsOf(t, c.iface, "iqn.one"), records: newRecords(db), cfg: Config{
				Interfaces: func() (binding.Resolution, error) { return twoNICs(c.drained...), nil },
			}}
			if c.busy != "" {
				release, err := a.targets.Share(t.Context(), c.busy)
				if err != nil {
					t.Fatal(err)
				}
				defer release()
			}
			if err := a.forgetRetired(t.Context(), all, twoNICs(c.drained...)); err != nil {
				t.Error(err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(n iscsi.NodeID) bool { return slices.Contains(c.gone, n) })
			if diff := cmp.Diff(want, db.nodes, cmp.Comparer(func(a, b iscsi.NodeID) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
			slices.Sort(db.ifaces)
			if diff := cmp.Diff(c.ifaces, slices.Compact(db.ifaces)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
