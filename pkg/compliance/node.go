package compliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/portbind/portbind/pkg/binding"
)

// Node is where snapshots are taken: this node, or a tree that looks like it.
type Node struct {
	// Interfaces resolves the node's interfaces to NICs, as they are now.
	Interfaces func() (binding.Resolution, error)
	// Demands are what the staged volumes, and the administrator's list of portals, want. Nil: nothing.
	Demands func(ctx context.Context) ([]Demand, error)
	// Proc is where procfs is, such as /proc.
	Proc string
}

// Snapshot looks at the node. Nothing is sent into the network. What cannot be read is not known; the error says what.
func (n Node) Snapshot(ctx context.Context) (Snapshot, error) {
	resolution, err := n.Interfaces()
	if err != nil {
		return Snapshot{}, fmt.Errorf("look at the node's NICs: %w", err)
	}
	s := Snapshot{
		Interfaces: resolution, Sysctls: map[string]Sysctls{}, Routed: map[Way]bool{}, Returns: map[Way]bool{}, Strays: map[Way]bool{},
		Unreachable: map[string]string{},
	}
	var errs []error
	if n.Demands != nil {
		s.Demands, err = n.Demands(ctx)
		errs = append(errs, err)
	}
	for _, i := range resolution.Interfaces {
		set, err := n.sysctls(i.NIC)
		if err == nil {
			s.Sysctls[i.NIC] = set
		}
		errs = append(errs, ignoreGone(err), s.routes(i))
	}
	return s, errors.Join(errs...)
}

// ignoreGone drops the error of a NIC that has gone since it was listed.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sysctls reads what is in force on a NIC.
func (n Node) sysctls(nic string) (set Sysctls, err error) {
	for key, value := range map[string]*int{
		"rp_filter": &set.RPFilter, "arp_ignore": &set.ARPIgnore, "arp_announce": &set.ARPAnnounce, "arp_filter": &set.ARPFilter,
	} {
		for _, scope := range []string{"all", nic} {
			got, readErr := readSysctl(n.Proc, scope, key)
			err = errors.Join(err, readErr)
			*value = max(*value, got)
		}
	}
	return set, err
}

// sysctlPath is where a setting of IPv4 on a NIC, or on "all" of them, is.
func sysctlPath(proc, nic, key string) string {
	return filepath.Join(proc, "sys/net/ipv4/conf", nic, key)
}

func readSysctl(proc, nic, key string) (int, error) {
	raw, err := os.ReadFile(sysctlPath(proc, nic, key))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(raw)))
}

// routes asks the routing table where an interface's packets would go. Only what is in question is asked for; where there is no
// answer, nothing is held against the interface.
func (s *Snapshot) routes(i binding.Interface) error {
	nic, _ := s.nic(i.NIC)
	var errs []error
	for _, p := range s.wanted(i) {
		if !onLink(i, p.Addr()) {
			// Of all routes the one that matches, or none: without it the kernel takes the whole world to be on the NIC's link.
			via, err := route(p.Addr(), netlink.RouteGetOptions{OifIndex: nic.Index, FIBMatch: true})
			errs = append(errs, err)
			s.Routed[Way{i.NIC, p.Addr()}] = err != nil || via == nic.Index
		}
	}
	for _, n := range s.neighbours(i) {
		for from, answers := range map[netip.Addr]map[Way]bool{n.own.Addr(): s.Returns, n.other.Addr(): s.Strays} {
			via, err := route(s.stranger(n.own), netlink.RouteGetOptions{SrcAddr: from.AsSlice()})
			if errs = append(errs, err); err == nil {
				answers[Way{i.NIC, from}] = via == nic.Index
			}
		}
	}
	return errors.Join(errs...)
}

// stranger is an address in a subnet that is none of this node's.
func (s *Snapshot) stranger(subnet netip.Prefix) netip.Addr {
	for addr := subnet.Masked().Addr().Next(); ; addr = addr.Next() {
		if !s.owns(addr) {
			return addr
		}
	}
}

func (s *Snapshot) owns(addr netip.Addr) bool {
	for _, n := range s.Interfaces.NICs {
		for _, p := range n.Addrs {
			if p.Addr() == addr {
				return true
			}
		}
	}
	return false
}

// route gives the NIC through which packets to an address would go; 0 when there is no way.
func route(to netip.Addr, options netlink.RouteGetOptions) (nic int, err error) {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &options)
	switch {
	case unroutable(err):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("ask for the route to %s: %w", to, err)
	case len(routes) == 0:
		return 0, nil
	}
	if len(routes[0].MultiPath) > 0 && options.OifIndex != 0 {
		return viaOne(routes[0].MultiPath, options.OifIndex), nil
	}
	return routes[0].LinkIndex, nil
}

// viaOne gives the NIC when one of several next hops is on it.
func viaOne(hops []*netlink.NexthopInfo, nic int) int {
	for _, hop := range hops {
		if hop.LinkIndex == nic {
			return nic
		}
	}
	return 0
}
