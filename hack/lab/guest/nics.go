package guest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// configureNICs gives the interfaces towards the outside our names and addresses, and brings the loopback up.
func configureNICs(nics []NIC) error {
	if err := setUp("lo"); err != nil {
		return err
	}
	for _, nic := range nics {
		if err := configureNIC(nic); err != nil {
			return fmt.Errorf("NIC %s: %w", nic.Name, err)
		}
	}
	return nil
}

func configureNIC(nic NIC) error {
	link, err := netlink.LinkByName(nic.Kernel)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetName(link, nic.Name); err != nil {
		return err
	}
	// UML's NICs send frames of several segments, and drop those that they get: each one costs its connection a retransmission
	// ("Incoming GSO frames and GRO disabled on the interface").
	if err := netlink.LinkSetGSOMaxSegs(link, 1); err != nil {
		return fmt.Errorf("one segment a frame: %w", err)
	}
	addr, err := netlink.ParseAddr(nic.Addr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	if err := setUp(nic.Name); err != nil {
		return err
	}
	if strings.HasPrefix(nic.Name, "san") {
		err = sameSubnet(nic.Name)
	}
	if nic.Table == 0 || err != nil {
		return err
	}
	return policyRoute(link, addr, nic.Table)
}

// sameSubnet makes a NIC answer for its own address only, and accept answers that the routing table would expect
// elsewhere: what two NICs in one subnet need.
func sameSubnet(nic string) error {
	var err error
	for _, name := range []string{"all", nic} {
		for key, value := range map[string]string{"rp_filter": "2", "arp_ignore": "1", "arp_announce": "2"} {
			err = errors.Join(err, os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/"+key, []byte(value), 0o600))
		}
	}
	return err
}

// policyRoute sends what comes from the NIC's address by the NIC, whatever others are in the subnet.
func policyRoute(link netlink.Link, addr *netlink.Addr, table int) error {
	rule := netlink.NewRule()
	rule.Src, rule.Table = &net.IPNet{IP: addr.IP, Mask: net.CIDRMask(32, 32)}, table
	subnet := &net.IPNet{IP: addr.IP.Mask(addr.Mask), Mask: addr.Mask}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: subnet, Table: table, Scope: netlink.SCOPE_LINK, Src: addr.IP}
	return errors.Join(netlink.RuleAdd(rule), netlink.RouteAdd(route))
}

func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}
