package attach

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// twoNICs is a node with two interfaces in one subnet, and one that has lost its NIC.
func twoNICs(drained ...string) binding.Resolution {
	port := func(name, nic, addr string) binding.Interface {
		return binding.Interface{Name: name, NIC: nic, Up: true, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}
	}
	return binding.Resolution{
		Interfaces: []binding.Interface{port("san-a", "eth1", "192.0.2.10/24"), port("san-b", "eth2", "192.0.2.11/24")},
		Problems:   []binding.Problem{{Interface: "san-c", Err: binding.ErrMissing}},
		Drained:    drained,
	}
}

var twoPortals = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:3260"), netip.MustParseAddrPort("192.0.2.2:3260")}

func TestUnwanted(t *testing.T) {
	for name, c := range map[string]struct {
		iface, nic string
		spec       Spec
		drained    []string
		want       bool
	}{
		"as it should be":         {"pb-san-a", "eth1", Spec{}, nil, false},
		"named":                   {"pb-san-a", "eth1", Spec{Interfaces: []string{"san-b", "san-a"}}, nil, false},
		"not named":               {"pb-san-a", "eth1", Spec{Interfaces: []string{"san-b"}}, nil, true},
		"drained":                 {"pb-san-a", "eth1", Spec{}, []string{"san-a"}, true},
		"another is drained":      {"pb-san-a", "eth1", Spec{}, []string{"san-b"}, false},
		"not configured any more": {"pb-san-x", "eth1", Spec{}, nil, true},
		"without a NIC for now":   {"pb-san-c", "eth3", Spec{}, nil, false},
		"on another NIC":          {"pb-san-a", "eth9", Spec{}, nil, true},
		"on a NIC not known":      {"pb-san-a", "", Spec{}, nil, false},
	} {
		if got := unwanted(sysfs.Session{Iface: c.iface, NIC: c.nic}, c.spec, twoNICs(c.drained...)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMatrixDrained(t *testing.T) {
	for name, c := range map[string]struct {
		names    []string
		minPaths int
		drained  []string
		want     int
		err      error
	}{
		"none drained":              {nil, 1, nil, 4, nil},
		"one drained":               {nil, 2, []string{"san-a"}, 2, nil},
		"too few are left":          {nil, 3, []string{"san-a"}, 0, ErrTooFewPaths},
		"the only one":              {[]string{"san-a"}, 0, []string{"san-a"}, 0, ErrTooFewPaths},
		"never that many":           {nil, 5, []string{"san-a"}, 0, ErrInvalid},
		"one that nobody knows":     {[]string{"san-a", "san-x"}, 1, nil, 0, ErrInvalid},
		"one without a NIC":         {[]string{"san-a", "san-c"}, 1, nil, 0, ErrNotReady},
		"one that is drained twice": {[]string{"san-b"}, 1, []string{"san-a", "san-a"}, 2, nil},
	} {
		a := &Attacher{cfg: Config{Interfaces: func() (binding.Resolution, error) { return twoNICs(c.drained...), nil }}}
		pairs, err := a.matrix(Spec{Interfaces: c.names, Portals: twoPortals, Pairing: binding.PairingAuto, MinPaths: c.minPaths})
		if len(pairs) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d pairs, %v", name, len(pairs), err)
		}
	}
}

// TestWanted: whatever became of a volume's interfaces since its attach, it has the paths that can be.
func TestWanted(t *testing.T) {
	for name, c := range map[string]struct {
		names   []string
		drained []string
		want    int
		err     error
	}{
		"all":                           {nil, nil, 4, nil},
		"all but a drained one":         {nil, []string{"san-b"}, 2, nil},
		"one is not configured":         {[]string{"san-a", "san-x"}, nil, 2, nil},
		"one has no NIC":                {[]string{"san-a", "san-c"}, nil, 2, binding.ErrMissing},
		"none is configured":            {[]string{"san-x"}, nil, 0, nil},
		"none is there but drained one": {[]string{"san-a", "san-x"}, []string{"san-a"}, 0, nil},
	} {
		pairs, err := wanted(Spec{Interfaces: c.names, Portals: twoPortals, Pairing: binding.PairingAuto}, twoNICs(c.drained...))
		if len(pairs) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %d pairs, %v", name, len(pairs), err)
		}
	}
}

func TestWithout(t *testing.T) {
	n := func(minor uint32) multipath.Devno { return multipath.Devno{Major: 8, Minor: minor} }
	groups := [][]multipath.Devno{{n(0), n(16)}, {n(32)}}
	for name, c := range map[string]struct {
		gone []multipath.Devno
		want [][]multipath.Devno
	}{
		"one":             {[]multipath.Devno{n(0)}, [][]multipath.Devno{{n(16)}, {n(32)}}},
		"a group":         {[]multipath.Devno{n(32)}, [][]multipath.Devno{{n(0), n(16)}}},
		"one not in them": {[]multipath.Devno{n(48)}, groups},
		"all":             {[]multipath.Devno{n(0), n(16), n(32)}, nil},
	} {
		if diff := cmp.Diff(c.want, without(groups, c.gone)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if len(groups[0]) != 2 {
		t.Error("the groups that were given are changed")
	}
}
