package pathwatch

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portbind/portbind/pkg/attach"
)

func TestReport(t *testing.T) {
	v := Volume{
		Interfaces: []string{"san-a", "san-b"}, Portals: []netip.AddrPort{p1, p2}, Pairing: "auto",
		Paths: []attach.Path{path("san-a", p1), path("san-a", p2, failed, loggedOut), path("san-b", p1)},
	}
	want := Report{
		Expected: 4, Working: 2, Alive: true,
		Lost: []Loss{{Interface: "san-a", NIC: "eth2", Portal: p2, Down: true}, {Interface: "san-b", NIC: "eth3", Portal: p2}},
		Text: "san-a (eth2): session down to 10.99.0.2:3260; san-b (eth3): no session to 10.99.0.2:3260",
	}
	if diff := cmp.Diff(want, Assess(v, node(sanA, sanB)), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
}
