package attach

import (
	"net"
	"net/netip"
	"testing"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// TestAnswered: a portal that was silent is asked until it answers, and then no more.
func TestAnswered(t *testing.T) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	id := iscsi.NodeID{Target: "iqn.2001-05.com.example:a", Portal: netip.MustParseAddrPort(l.Addr().String()), Interface: "san-a"}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a := &Attacher{sys: sysfs.Default, awaited: map[iscsi.NodeID]string{}, contacts: map[iscsi.NodeID]contact{}}
	a.missed(id)
	a.await(id, "lo")
	if a.answered(t.Context()) {
		t.Error("a portal that refuses connections answers")
	}
	if l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(id.Portal)); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !a.answered(t.Context()) {
		t.Error("it listens, and does not answer")
	}
	if c := a.contact(id); c.heard.IsZero() || !c.silent.IsZero() {
		t.Errorf("known of it: %+v", c)
	}
	if a.answered(t.Context()) {
		t.Error("it is asked again")
	}
}
