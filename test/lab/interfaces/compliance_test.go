//go:build lab

package interfaces

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestCompliance brings an interface into each of the states and out of it again.
func TestCompliance(t *testing.T) {
	labenv.Require(t, labenv.NetEm)
	s := newScene(t)
	s.Drop("san0")
	s.start([]map[string]any{
		iface("san-a", "netdev", "san0"), iface("san-b", "netdev", "san1"),
		iface("gone", "netdev", "eth77"), iface("twice", "netdev", "san0"),
	}, nil)
	s.want("san-a NoPortalReachable", "san-b Compliant", "gone NoNIC", "twice DuplicateNIC")
	s.wantTopology(map[string]string{"san-a": "true", "san-b": "true", "gone": "", "twice": ""})
	s.Undrop("san0")
	s.want("san-a Compliant") // nobody says that a portal answers again: the plugin tries
	s.links()
	s.filters()
	s.subnets()
	s.Run("ip", "link", "del", "san1")
	s.want("san-b NoNIC", "san-a Compliant")
	s.wantTopology(map[string]string{"san-b": ""})
}

// A cut cable passes; it takes nothing away from the node. A missing address does.
func (s *scene) links() {
	s.LinkDown("san0")
	s.want("san-a LinkDown", "san-b Compliant")
	s.wantTopology(map[string]string{"san-a": "true"})
	s.LinkUp("san0")
	s.want("san-a Compliant")
	s.Run("ip", "addr", "flush", "dev", "san1")
	s.want("san-b NoIP")
	s.wantTopology(map[string]string{"san-b": ""})
	s.Run("ip", "addr", "add", s.Net.Addrs[1]+"/24", "dev", "san1")
	s.want("san-b Compliant")
	s.wantTopology(map[string]string{"san-b": "true"})
	s.Run("ip", "link", "set", "san1", "mtu", "1400")
	s.want("san-b MTUMismatch", "san-a Compliant")
	s.Run("ip", "link", "set", "san1", "mtu", "1500")
	s.want("san-b Compliant")
}

// What the kernel does with two NICs in one subnet unless it is told otherwise: what the states say is what happens.
func (s *scene) filters() {
	s.T.Helper()
	s.sysctl("all", "rp_filter", "1")
	s.sysctl("san0", "rp_filter", "1")
	s.sysctl("san1", "rp_filter", "1")
	s.poke()
	s.want("san-b FilteredByRPFilter", "san-a Compliant")
	if err := s.reaches("san0"); err != nil {
		s.T.Errorf("the way back is san0, but: %v", err)
	}
	err := s.reaches("san1")
	s.T.Logf("through san1: %v", err)
	if err == nil {
		s.T.Error("a portal answers through san1 in spite of the filter")
	}
	s.sysctl("san1", "rp_filter", "2")
	s.poke()
	s.want("san-b Compliant")
	if err := s.reaches("san1"); err != nil {
		s.T.Error(err)
	}
	s.sysctl("all", "arp_ignore", "0")
	s.sysctl("san1", "arp_ignore", "0")
	s.poke()
	s.want("san-b ARPFlux", "san-a Compliant")
	s.sysctl("san1", "arp_ignore", "1")
	s.poke()
	s.want("san-b Compliant")
	s.arpFilter()
}

// arp_filter lets a NIC answer where the way back is: not at all for san1's address, until a routing rule says so; then it does
// what arp_ignore is for.
func (s *scene) arpFilter() {
	s.T.Helper()
	addr := s.Net.Addrs[1]
	s.sysctl("san1", "arp_filter", "1")
	s.poke()
	s.want("san-b ARPFlux", "san-a Compliant")
	if s.found(addr) {
		s.T.Error("the address of san1 is answered for in spite of the filter")
	}
	s.Run("ip", "route", "add", "10.99.0.0/24", "dev", "san1", "table", "111")
	s.Run("ip", "rule", "add", "from", addr, "table", "111")
	s.sysctl("san1", "arp_ignore", "0")
	s.poke()
	s.want("san-b Compliant", "san-a Compliant")
	if !s.found(addr) {
		s.T.Error("nobody answers for the address of san1")
	}
	s.sysctl("san1", "arp_ignore", "1")
	s.sysctl("san1", "arp_filter", "0")
	s.Run("ip", "rule", "del", "from", addr, "table", "111")
}

// found says whether the target host learns, by ARP, where an address of the node is.
func (s *scene) found(addr string) bool {
	s.T.Helper()
	s.InTarget("ip", "neigh", "flush", "dev", "br0")
	conn, err := labenv.DialTarget("tcp", addr+":9")
	if err == nil {
		_ = conn.Close()
	}
	s.T.Logf("from the target host to %s: %v", addr, err)
	return errors.Is(err, unix.ECONNREFUSED)
}

// An address elsewhere, then a route to the portals, which do not know the way back.
func (s *scene) subnets() {
	s.Run("ip", "addr", "flush", "dev", "san1")
	s.Run("ip", "addr", "add", "10.77.0.11/24", "dev", "san1")
	s.want("san-b WrongSubnet", "san-a Compliant")
	s.Run("ip", "route", "add", s.Net.Portals[0]+"/32", "dev", "san1")
	s.poke()
	s.want("san-b NoPortalReachable")
	s.InTarget("ip", "route", "add", "10.77.0.0/24", "dev", "br0")
	s.want("san-b Compliant")
}
