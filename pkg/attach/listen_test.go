package attach

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/sysfs"
)

// TestSilent: of the sessions that are to stay, those count whose portal takes a connection now, whatever their state says.
func TestSilent(t *testing.T) {
	listen := func() (*net.TCPListener, netip.AddrPort) {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return l, netip.MustParseAddrPort(l.Addr().String())
	}
	open, alive := listen()
	defer open.Close()
	shut, dead := listen()
	_ = shut.Close()
	session := func(id int, iface, state string, portal netip.AddrPort) sysfs.Session {
		return sysfs.Session{ID: id, Iface: "pb-" + iface, State: state, NIC: "lo", Portal: portal}
	}
	x := &exodus{res: twoNICs("san-b"), hosts: map[int]sysfs.Session{
		1: session(11, "san-a", "LOGGED_IN", alive), 2: session(12, "san-a", "LOGGED_IN", dead),
		3: session(13, "san-b", "LOGGED_IN", dead), 4: session(14, "san-a", "FAILED", dead),
	}}
	if diff := cmp.Diff(map[int]bool{12: true}, (&Attacher{}).silent(t.Context(), x)); diff != "" {
		t.Error(diff)
	}
}

// TestMoving: interfaces on other NICs than theirs move; what leaves for good does not, nor what has no NIC to go to.
func TestMoving(t *testing.T) {
	x := &exodus{res: twoNICs(), hosts: map[int]sysfs.Session{
		1: {ID: 11, Iface: "pb-san-b", NIC: "eth1"}, 2: {ID: 12, Iface: "pb-san-a", NIC: "eth2"},
		3: {ID: 13, Iface: "pb-san-x", NIC: "eth1"}, 4: {ID: 14, Iface: "pb-san-c", NIC: "eth9"},
	}, spared: map[int]bool{}}
	leaving := map[string][]sysfs.Disk{"naa.1": {onHost(1, 0), onHost(3, 32)}, "naa.2": {onHost(2, 16), onHost(4, 48)}}
	if diff := cmp.Diff([]string{"san-a", "san-b"}, x.moving(leaving)); diff != "" {
		t.Error(diff)
	}
	x.keep("san-b")
	if diff := cmp.Diff(map[int]bool{11: true}, x.spared); diff != "" {
		t.Error(diff)
	}
}
