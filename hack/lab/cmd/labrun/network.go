package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/lab/vm"
)

// nsEnv says that we are in namespaces of our own already.
const nsEnv = "LAB_NAMESPACE"

// enterNamespaces moves this program into namespaces of its own, which end with the last process in them: whatever
// happens, nothing stays on the host.
func enterNamespaces(flags int) error {
	if os.Getenv(nsEnv) != "" {
		return nil
	}
	self, err := os.Executable() // before its mount is another's, which a chroot would show
	if err != nil {
		return fmt.Errorf("own path: %w", err)
	}
	runtime.LockOSThread() // exec(2) keeps the calling thread's namespaces
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	err = syscall.Exec(self, os.Args, append(os.Environ(), nsEnv+"=1"))
	return fmt.Errorf("%s in its namespaces: %w", self, err)
}

// switches are the bridges that join the guests: one for management, and one or more for storage.
type switches struct {
	separate bool
	made     map[string]netlink.Link
}

// The outside's address on the management network; guests have .10, .11, ...
const outsideAddr = "10.70.0.1/24"

func newSwitches(separate bool) (*switches, error) {
	s := &switches{separate: separate, made: map[string]netlink.Link{}}
	if err := up("lo"); err != nil {
		return nil, err
	}
	mgmt, err := s.bridge("mgmt")
	if err != nil {
		return nil, err
	}
	addr, err := netlink.ParseAddr(outsideAddr)
	if err != nil {
		return nil, err
	}
	return s, netlink.AddrAdd(mgmt, addr)
}

func (s *switches) bridge(name string) (netlink.Link, error) {
	if b, ok := s.made[name]; ok {
		return b, nil
	}
	la := netlink.NewLinkAttrs()
	la.Name = name
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: la}); err != nil {
		return nil, fmt.Errorf("bridge %s: %w", name, err)
	}
	b, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", name, err)
	}
	s.made[name] = b
	return b, netlink.LinkSetUp(b)
}

// plug makes the tap devices of guest number i and says what they are inside: mgmt, san0, san1, ...
func (s *switches) plug(i, storageNICs int) ([]vm.NIC, error) {
	nics := []vm.NIC{{Name: "mgmt", Addr: fmt.Sprintf("10.70.0.%d/24", 10+i)}}
	for n := range storageNICs {
		fabric := 0
		if s.separate {
			fabric = n
		}
		nics = append(nics, vm.NIC{Name: fmt.Sprintf("san%d", n), Addr: fmt.Sprintf("10.99.%d.%d/24", fabric, 10+10*i+n)})
	}
	for n := range nics {
		nics[n].Tap = tapName(i, nics[n].Name)
		nics[n].MAC = fmt.Sprintf("02:00:5e:10:%02x:%02x", i, n)
		if err := s.tap(nics[n]); err != nil {
			return nil, err
		}
	}
	return nics, nil
}

func tapName(guest int, nic string) string { return fmt.Sprintf("g%d-%s", guest, nic) }

func (s *switches) tap(nic vm.NIC) error {
	b, err := s.switchOf(nic)
	if err != nil {
		return err
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.MasterIndex = nic.Tap, b.Attrs().Index
	// UML's and qemu's tap queues: without IFF_NO_PI each packet would have four bytes in front.
	tap := &netlink.Tuntap{LinkAttrs: la, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR}
	if err := netlink.LinkAdd(tap); err != nil {
		return fmt.Errorf("tap %s: %w", nic.Tap, err)
	}
	for _, fd := range tap.Fds {
		_ = fd.Close() // it is persistent; the guest opens it anew
	}
	// While it is unplugged, nothing here may answer on it.
	return errors.Join(netlink.LinkSetARPOff(tap), up(nic.Tap))
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

// setPlugged takes a tap device off its switch, or plugs it in again. The guest keeps its carrier: packets just vanish. A
// tap device that is down would do worse: UML's driver gives up for good on the first error.
func (s *switches) setPlugged(nic vm.NIC, on bool) error {
	link, err := netlink.LinkByName(nic.Tap)
	if err != nil {
		return fmt.Errorf("link %s: %w", nic.Tap, err)
	}
	if !on {
		return netlink.LinkSetNoMaster(link)
	}
	b, err := s.switchOf(nic)
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(link, b)
}

func (s *switches) switchOf(nic vm.NIC) (netlink.Link, error) {
	if nic.Name != "mgmt" && !s.separate {
		return s.bridge("san")
	}
	return s.bridge(nic.Name)
}
