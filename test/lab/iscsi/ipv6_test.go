//go:build lab

package iscsi

import (
	"net/netip"
	"testing"

	"github.com/portbind/portbind/pkg/iscsi"
)

func TestIPv6(t *testing.T) {
	s := newScene(t)
	for nic, addr := range map[string]string{"san0": "2001:db8::10/64", "san1": "2001:db8::11/64"} {
		s.Run("ip", "-6", "addr", "add", addr, "dev", nic, "nodad")
	}
	s.InTarget("ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "br0", "nodad")
	s.InTarget("mkdir", "/sys/kernel/config/target/iscsi/"+target+"/tpgt_1/np/[2001:db8::1]:3260")
	portal := netip.MustParseAddrPort("[2001:db8::1]:3260")
	var nodes []iscsi.NodeID
	for _, pair := range []int{0, 2} {
		n := node(s.matrix[pair])
		n.Portal = portal
		s.must(iscsi.Probe(t.Context(), n.Iface.NIC, portal))
		s.records(n)
		s.must(s.client.Login(t.Context(), n.ID()))
		nodes = append(nodes, n.ID())
	}
	sessions := s.sessions()
	if len(sessions) != 2 || sessions[0].NIC != "san0" || sessions[1].NIC != "san1" {
		t.Fatalf("got %+v", sessions)
	}
	for i, session := range sessions {
		if session.Portal != portal || session.Persistent != portal || id(session) != nodes[i] {
			t.Errorf("got %+v", session)
		}
	}
	s.tearDown()
}
