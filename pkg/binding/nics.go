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

// NICs lists the network devices of our network namespace, with what the configuration asks for to tell them apart.
func (c Config) NICs() ([]NIC, error) {
	nics, err := NICs()
	if err != nil || !slices.ContainsFunc(c.Interfaces, func(i InterfaceConfig) bool { return i.PCI+i.Driver != "" }) {
		return nics, err
	}
	return nics, drivers(nics)
}

// drivers fills in what ethtool(8) says. That costs the kernel's network lock once for each NIC.
func drivers(nics []NIC) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("ask for the drivers of network devices: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for i := range nics {
		info, err := unix.IoctlGetEthtoolDrvinfo(fd, nics[i].Name)
		if err != nil {
			continue // it has none, or has gone
		}
		nics[i].Driver = unix.ByteSliceToString(info.Driver[:])
		if bus := unix.ByteSliceToString(info.Bus_info[:]); pciPattern.MatchString(bus) {
			nics[i].PCI = strings.ToLower(bus)
		}
	}
	return nil
}

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
		if link.Attrs().Flags&net.FlagLoopback == 0 {
			nics = append(nics, nic(link, links, addrs))
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

func nic(link netlink.Link, links []netlink.Link, addrs []netlink.Addr) NIC {
	attrs := link.Attrs()
	n := NIC{
		Name: attrs.Name, MAC: attrs.HardwareAddr.String(), Index: attrs.Index, Kind: link.Type(), MTU: attrs.MTU,
		Enslaved: attrs.MasterIndex != 0, AdminUp: attrs.RawFlags&unix.IFF_UP != 0,
	}
	n.Up = n.AdminUp && attrs.RawFlags&unix.IFF_LOWER_UP != 0
	if bond, ok := link.(*netlink.Bond); ok {
		n.Mode, n.Hash = bond.Mode.String(), bond.XmitHashPolicy.String()
	}
	for _, other := range links {
		if n.Enslaved && other.Attrs().Index == attrs.MasterIndex {
			n.Master = other.Attrs().Name
		}
	}
	for _, addr := range addrs {
		if prefix, ok := global(addr); ok && addr.LinkIndex == attrs.Index {
			n.Addrs = append(n.Addrs, prefix)
		}
	}
	slices.SortFunc(n.Addrs, netip.Prefix.Compare)
	return n
}

// global gives a global unicast address with its prefix length.
func global(addr netlink.Addr) (netip.Prefix, bool) {
	if addr.IPNet == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(addr.IP)
	if !ok || !ip.Unmap().IsGlobalUnicast() {
		return netip.Prefix{}, false
	}
	ones, _ := addr.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones), true
}
