package binding

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NICs lists the network devices of our network namespace by name, loopback left out. It asks rtnetlink twice, whatever
// their number.
func NICs() ([]NIC, error) {
	links, err := dump(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var nics []NIC
	for _, link := range links {
		if attrs := link.Attrs(); attrs.Flags&net.FlagLoopback == 0 {
			nics = append(nics, nic(attrs, addrs))
		}
	}
	slices.SortFunc(nics, func(a, b NIC) int { return strings.Compare(a.Name, b.Name) })
	return nics, nil
}

// dump repeats a listing that changed while it was read.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	const attempts = 5
	for i := 1; ; i++ {
		result, err := list()
		if i == attempts || !errors.Is(err, netlink.ErrDumpInterrupted) {
			return result, err
		}
	}
}

func nic(attrs *netlink.LinkAttrs, addrs []netlink.Addr) NIC {
	n := NIC{
		Name: attrs.Name, MAC: attrs.HardwareAddr.String(), Enslaved: attrs.MasterIndex != 0,
		Up: attrs.RawFlags&unix.IFF_UP != 0 && attrs.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	for _, addr := range addrs {
		if addr.LinkIndex != attrs.Index || addr.IPNet == nil {
			continue
		}
		ip, ok := netip.AddrFromSlice(addr.IP)
		if !ok || !ip.Unmap().IsGlobalUnicast() {
			continue
		}
		ones, _ := addr.Mask.Size()
		n.Addrs = append(n.Addrs, netip.PrefixFrom(ip.Unmap(), ones))
	}
	slices.SortFunc(n.Addrs, netip.Prefix.Compare)
	return n
}
