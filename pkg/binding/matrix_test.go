package binding

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func portals(texts ...string) []netip.AddrPort {
	var list []netip.AddrPort
	for _, text := range texts {
		list = append(list, netip.MustParseAddrPort(text))
	}
	return list
}

func TestMatrix(t *testing.T) {
	a := Interface{Name: "a", NIC: "eth1", Addrs: prefixes("192.0.2.11/24")}
	b := Interface{Name: "b", NIC: "eth2", Addrs: prefixes("192.0.2.12/24")}
	other := Interface{Name: "o", NIC: "eth3", Addrs: prefixes("198.51.100.3/24")}
	dual := Interface{Name: "d", NIC: "eth4", Addrs: prefixes("192.0.2.14/24", "2001:db8:1::14/64")}
	bare := Interface{Name: "n", NIC: "eth5"}
	tests := []struct {
		name       string
		interfaces []Interface
		portals    []netip.AddrPort
		pairing    Pairing
		want       string
	}{
		{
			"one subnet, auto",
			[]Interface{a, b},
			portals("192.0.2.1:3260", "192.0.2.2:3260"), PairingAuto,
			"a-192.0.2.1:3260 a-192.0.2.2:3260 b-192.0.2.1:3260 b-192.0.2.2:3260",
		},
		{
			"two subnets, auto",
			[]Interface{a, other},
			portals("192.0.2.1:3260", "198.51.100.1:3260"), PairingAuto,
			"a-192.0.2.1:3260 o-198.51.100.1:3260",
		},
		{"routed, auto", []Interface{a, other}, portals("203.0.113.1:3260"), PairingAuto, "a-203.0.113.1:3260 o-203.0.113.1:3260"},
		{
			"two subnets, mesh",
			[]Interface{a, other},
			portals("192.0.2.1:3260", "198.51.100.1:3260"), PairingMesh,
			"a-192.0.2.1:3260 a-198.51.100.1:3260 o-192.0.2.1:3260 o-198.51.100.1:3260",
		},
		{"fabric leaves out the routed", []Interface{a, other}, portals("192.0.2.1:3260"), PairingFabric, "a-192.0.2.1:3260"},
		{
			"families",
			[]Interface{a, dual},
			portals("[2001:db8:1::1]:3260", "192.0.2.1:3260"), PairingMesh,
			"a-192.0.2.1:3260 d-[2001:db8:1::1]:3260 d-192.0.2.1:3260",
		},
		{"no address", []Interface{bare, a}, portals("192.0.2.1:3260"), PairingMesh, "a-192.0.2.1:3260"},
		{
			"two ports of one address",
			[]Interface{a},
			portals("192.0.2.1:3260", "192.0.2.1:3261"), PairingAuto,
			"a-192.0.2.1:3260 a-192.0.2.1:3261",
		},
		{"repeated", []Interface{a, a}, portals("192.0.2.1:3260", "192.0.2.1:3260"), PairingAuto, "a-192.0.2.1:3260"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pairs, err := Matrix(test.interfaces, test.portals, test.pairing)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range pairs {
				got = append(got, p.Interface.Name+"-"+p.Portal.String())
			}
			if diff := cmp.Diff(strings.Fields(test.want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMatrixWithoutAPair(t *testing.T) {
	a := Interface{Name: "a", NIC: "eth1", Addrs: prefixes("192.0.2.11/24")}
	_, err := Matrix([]Interface{a}, portals("198.51.100.1:3260"), PairingFabric)
	want := "no interface can reach a portal: pairing fabric of a (eth1 [192.0.2.11/24]) with portals [198.51.100.1:3260]"
	if !errors.Is(err, ErrNoPair) || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if _, err := Matrix(nil, nil, PairingAuto); !errors.Is(err, ErrNoPair) {
		t.Errorf("got %v", err)
	}
}
