package guest

import (
	"fmt"

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
	addr, err := netlink.ParseAddr(nic.Addr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	return setUp(nic.Name)
}

func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}
