package binding

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// node is a machine with two storage NICs in one subnet, one in another, and a bond.
func node() []NIC {
	return []NIC{
		{Name: "bond0", MAC: "02:00:00:00:00:05", Addrs: prefixes("203.0.113.5/24"), Up: true},
		{Name: "eth1", MAC: "02:00:00:00:00:01", Addrs: prefixes("192.0.2.11/24", "2001:db8:1::11/64"), Up: true},
		{Name: "eth2", MAC: "02:00:00:00:00:02", Addrs: prefixes("192.0.2.12/24"), Up: true},
		{Name: "eth3", MAC: "02:00:00:00:00:03", Addrs: prefixes("198.51.100.3/24")},
		{Name: "eth4", MAC: "02:00:00:00:00:05", Enslaved: true, Up: true},
	}
}

func TestResolve(t *testing.T) {
	c := Config{Interfaces: []InterfaceConfig{
		{Name: "by-mac", MAC: "02-00-00-00-00-02"},
		{Name: "by-name", NetDev: "eth9"}, // the next entry of the name fits
		{Name: "by-cidr", CIDR: "198.51.100.0/24"},
		{Name: "by-name", NetDev: "eth1"},
		{Name: "by-bond", MAC: "02:00:00:00:00:05"},
	}}
	got := Resolve(c, node())
	want := Resolution{NICs: node(), Interfaces: []Interface{
		{Name: "by-mac", NIC: "eth2", MAC: "02:00:00:00:00:02", Addrs: prefixes("192.0.2.12/24"), Up: true},
		{Name: "by-name", NIC: "eth1", MAC: "02:00:00:00:00:01", Addrs: prefixes("192.0.2.11/24", "2001:db8:1::11/64"), Up: true},
		{Name: "by-cidr", NIC: "eth3", MAC: "02:00:00:00:00:03", Addrs: prefixes("198.51.100.3/24")},
		{Name: "by-bond", NIC: "bond0", MAC: "02:00:00:00:00:05", Addrs: prefixes("203.0.113.5/24"), Up: true},
	}}
	if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
		t.Error(diff)
	}
}

func TestResolveProblems(t *testing.T) {
	c := Config{Interfaces: []InterfaceConfig{
		{Name: "gone", NetDev: "eth8"},
		{Name: "gone", MAC: "02:00:00:00:00:99"},
		{Name: "two", CIDR: "192.0.2.0/24"},
		{Name: "good", NetDev: "eth1"},
		{Name: "again", MAC: "02:00:00:00:00:01"},
	}}
	got := Resolve(c, node())
	if len(got.Interfaces) != 1 || got.Interfaces[0].Name != "good" {
		t.Fatalf("a problem with one interface took others with it: %+v", got.Interfaces)
	}
	want := []struct {
		name string
		err  error
		text string
	}{
		{"gone", ErrMissing, `interface "gone": no such NIC on this node: looked for netdev eth8, mac 02:00:00:00:00:99, ` +
			`there are bond0, eth1, eth2, eth3, eth4`},
		{"two", ErrAmbiguous, `interface "two": cidr 192.0.2.0/24: several NICs fit: eth1, eth2; name the NIC by netdev or mac`},
		{"again", ErrShared, `interface "again": NIC eth1: NIC has another name already: "good"`},
	}
	if len(got.Problems) != len(want) {
		t.Fatalf("got %+v", got.Problems)
	}
	for i, p := range got.Problems {
		if p.Interface != want[i].name || !errors.Is(p.Err, want[i].err) || p.Err.Error() != want[i].text {
			t.Errorf("got %+v, want %+v", p, want[i])
		}
	}
}

func TestSelect(t *testing.T) {
	r := Resolve(Config{Interfaces: []InterfaceConfig{
		{Name: "san-a", NetDev: "eth1"}, {Name: "san-b", NetDev: "eth2"}, {Name: "san-c", NetDev: "eth9"},
	}}, node())
	got, err := r.Select([]string{"san-b", "san-a", "san-b"})
	if err != nil || len(got) != 2 || got[0].Name != "san-b" || got[1].Name != "san-a" {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = r.Select([]string{"san-a", "san-c"})
	if !errors.Is(err, ErrMissing) || len(got) != 1 {
		t.Errorf("missing NIC: got %+v, %v", got, err)
	}
	_, err = r.Select([]string{"san-x"})
	want := `unknown interface "san-x": this node's configuration has san-a, san-b, san-c`
	if !errors.Is(err, ErrUnknownInterface) || err.Error() != want {
		t.Errorf("unknown: got %v", err)
	}
}

func TestNICsOfThisMachine(t *testing.T) {
	first, err := NICs()
	if err != nil {
		t.Skip("no rtnetlink here: ", err)
	}
	for _, nic := range first {
		if nic.Name == "lo" {
			t.Error("loopback is no storage port")
		}
	}
}
