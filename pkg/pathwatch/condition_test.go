package pathwatch

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
)

// The node of the tests: two NICs and two portals, all in one subnet.
var (
	p1 = netip.MustParseAddrPort("10.99.0.1:3260")
	p2 = netip.MustParseAddrPort("10.99.0.2:3260")
	pB = netip.MustParseAddrPort("10.98.0.1:3260")
	p6 = netip.MustParseAddrPort("[2001:db8::1]:3260")
)

func nic(name, dev, prefix string) binding.Interface {
	i := binding.Interface{Name: name, NIC: dev, Up: true}
	if prefix != "" {
		i.Addrs = []netip.Prefix{netip.MustParsePrefix(prefix)}
	}
	return i
}

func down(i binding.Interface) binding.Interface {
	i.Up = false
	return i
}

var (
	sanA = nic("san-a", "eth2", "10.99.0.10/24")
	sanB = nic("san-b", "eth3", "10.99.0.11/24")
)

func node(is ...binding.Interface) binding.Resolution { return binding.Resolution{Interfaces: is} }

// without adds interfaces that have no NIC.
func without(r binding.Resolution, names ...string) binding.Resolution {
	for _, n := range names {
		r.Problems = append(r.Problems, binding.Problem{Interface: n, Err: errors.New(`interface "` + n + `": no such NIC on this node`)})
	}
	return r
}

func path(iface string, portal netip.AddrPort, change ...func(*attach.Path)) attach.Path {
	p := attach.Path{Interface: iface, Portal: portal, Asked: portal, SessionState: "LOGGED_IN", State: attach.StateActive}
	for _, c := range change {
		c(&p)
	}
	return p
}

func failed(p *attach.Path)  { p.State = attach.StateFailed }
func missing(p *attach.Path) { p.State = attach.StateMissing }
func loggedOut(p *attach.Path) {
	p.State, p.SessionState, p.Portal = attach.StateFailed, "FREE", netip.AddrPort{}
}

// redirected is where the target sent the session.
func redirected(p *attach.Path) { p.Portal = netip.MustParseAddrPort("10.99.0.77:3260") }

func vol(paths ...attach.Path) Volume {
	return Volume{
		ID: "t/p/v", Interfaces: []string{"san-a", "san-b"}, Portals: []netip.AddrPort{p1, p2}, Pairing: binding.PairingAuto, Paths: paths,
	}
}

// all are the four paths.
func all(b ...func(*attach.Path)) []attach.Path {
	return []attach.Path{path("san-a", p1), path("san-a", p2), path("san-b", p1, b...), path("san-b", p2, b...)}
}

func lostB(why cause, dev string, portals ...netip.AddrPort) (lost []loss) {
	for _, p := range portals {
		lost = append(lost, loss{pair{"san-b", p}, dev, why})
	}
	return lost
}

func TestAssess(t *testing.T) {
	t.Parallel()
	fabric := func(v Volume) Volume {
		v.Portals = []netip.AddrPort{p1, pB}
		return v
	}
	pairing := func(p binding.Pairing, v Volume) Volume {
		v.Pairing = p
		return v
	}
	anyInterface := vol(all()...)
	anyInterface.Interfaces = nil
	for name, test := range map[string]struct {
		v    Volume
		r    binding.Resolution
		want condition
	}{
		"whole":                 {vol(all()...), node(sanA, sanB), condition{4, 4, true, nil}},
		"redirected":            {vol(all(redirected)...), node(sanA, sanB), condition{4, 4, true, nil}},
		"all that the node has": {anyInterface, without(node(sanA), "san-b"), condition{4, 2, true, lostB(causeNoNIC, "", p1, p2)}},
		"a cable, and the map has not noticed": {
			vol(all()...), node(sanA, down(sanB)), condition{4, 2, true, lostB(causeNoLink, "eth3", p1, p2)},
		},
		"a cable, and the map has": {
			vol(all(loggedOut)...), node(sanA, down(sanB)), condition{4, 2, true, lostB(causeNoLink, "eth3", p1, p2)},
		},
		"a cable took the address along": {
			vol(all(loggedOut)...), node(sanA, down(nic("san-b", "eth3", ""))), condition{4, 2, true, lostB(causeNoLink, "eth3", p1, p2)},
		},
		"silent loss": {vol(all(loggedOut)...), node(sanA, sanB), condition{4, 2, true, lostB(causeSession, "eth3", p1, p2)}},
		"path failed": {vol(all(failed)...), node(sanA, sanB), condition{4, 2, true, lostB(causePath, "eth3", p1, p2)}},
		"not in map":  {vol(all(missing)...), node(sanA, sanB), condition{4, 2, true, lostB(causeNotInMap, "eth3", p1, p2)}},
		"no session":  {vol(all()[:3]...), node(sanA, sanB), condition{4, 3, true, lostB(causeNoSession, "eth3", p2)}},
		"NIC gone since, sessions still there": {
			vol(all()[:3]...), without(node(sanA), "san-b"), condition{3, 2, true, lostB(causeNoNIC, "", p1)},
		},
		"NIC gone before the attach": {
			vol(all()[:2]...), without(node(sanA), "san-b"), condition{4, 2, true, lostB(causeNoNIC, "", p1, p2)},
		},
		"NIC of fabric B gone": {
			fabric(vol(path("san-a", p1))), without(node(sanA), "san-b"), condition{2, 1, true, lostB(causeNoNIC, "", pB)},
		},
		"mesh, NIC gone": {
			pairing(binding.PairingMesh, fabric(vol(path("san-a", p1), path("san-a", pB)))), without(node(sanA), "san-b"),
			condition{4, 2, true, lostB(causeNoNIC, "", p1, pB)},
		},
		"address gone": {
			vol(all()[:2]...), node(sanA, nic("san-b", "eth3", "")), condition{4, 2, true, lostB(causeNoAddress, "eth3", p1, p2)},
		},
		"nothing for san-b in its fabric": {
			pairing(binding.PairingFabric, vol(all()[:2]...)), node(sanA, nic("san-b", "eth3", "10.1.0.1/24")), condition{2, 2, true, nil},
		},
		"IPv6 address gone with the link": {
			Volume{Interfaces: []string{"san-a"}, Portals: []netip.AddrPort{p6}, Pairing: binding.PairingAuto},
			node(down(sanA)),
			condition{1, 0, false, []loss{{pair{"san-a", p6}, "eth2", causeNoLink}}},
		},
		"all lost": {
			vol(all()...), node(down(sanA), down(sanB)),
			condition{4, 0, false, append([]loss{{pair{"san-a", p1}, "eth2", causeNoLink}, {pair{"san-a", p2}, "eth2", causeNoLink}},
				lostB(causeNoLink, "eth3", p1, p2)...)},
		},
		"a name taken out of the configuration": {vol(all()...), node(sanA), condition{4, 4, true, nil}},
		"the only path left is one that nobody expects": {
			Volume{Interfaces: []string{"san-a"}, Portals: []netip.AddrPort{p1}, Pairing: binding.PairingAuto, Paths: []attach.Path{path("", p2)}},
			node(sanA),
			condition{1, 0, true, []loss{{pair{"san-a", p1}, "eth2", causeNoSession}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := assess(test.v, test.r)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(condition{}, loss{}, pair{}), cmp.Comparer(sameAddrPort)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func sameAddrPort(a, b netip.AddrPort) bool { return a == b }
