package binding

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ErrUnknownInterface says that no interface of that name is configured on this node.
var ErrUnknownInterface = errors.New("unknown interface")

// ErrNoPair says that interfaces and portals cannot meet.
var ErrNoPair = errors.New("no interface can reach a portal")

// Select gives the interfaces of the given names in that order, without repetition. A name without a NIC gives its
// problem's error, an unconfigured one ErrUnknownInterface; the interfaces that are there come back in either case.
func (r Resolution) Select(names []string) ([]Interface, error) {
	var selected []Interface
	var errs []error
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		found, err := r.lookup(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		selected = append(selected, found)
	}
	return selected, errors.Join(errs...)
}

func (r Resolution) lookup(name string) (Interface, error) {
	for _, i := range r.Interfaces {
		if i.Name == name {
			return i, nil
		}
	}
	known := make([]string, 0, len(r.Interfaces)+len(r.Problems))
	for _, i := range r.Interfaces {
		known = append(known, i.Name)
	}
	for _, p := range r.Problems {
		if p.Interface == name {
			return Interface{}, p.Err
		}
		known = append(known, p.Interface)
	}
	return Interface{}, fmt.Errorf("%w %.64q: this node's configuration has %s", ErrUnknownInterface, name, strings.Join(known, ", "))
}

// Matrix gives the bound sessions that should exist, interface by interface in the given order, portals in theirs. No
// pairing puts an interface and a portal of different address families together: that connection cannot exist. It
// fails with ErrNoPair when there is not a single pair.
func Matrix(interfaces []Interface, portals []netip.AddrPort, pairing Pairing) ([]Pair, error) {
	var pairs []Pair
	for _, i := range interfaces {
		for _, portal := range i.pick(portals, pairing) {
			if pair := (Pair{i, portal}); !containsPair(pairs, pair) {
				pairs = append(pairs, pair)
			}
		}
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("%w: pairing %s of %s with portals %s", ErrNoPair, pairing, describe(interfaces), portals)
	}
	return pairs, nil
}

// pick gives the portals that one interface meets.
func (i Interface) pick(portals []netip.AddrPort, pairing Pairing) []netip.AddrPort {
	var onLink, sameFamily []netip.AddrPort
	for _, portal := range portals {
		if i.onLink(portal.Addr()) {
			onLink = append(onLink, portal)
		}
		if i.speaks(portal.Addr()) {
			sameFamily = append(sameFamily, portal)
		}
	}
	if pairing == PairingFabric || (pairing == PairingAuto && len(onLink) > 0) {
		return onLink
	}
	return sameFamily
}

// onLink says that an address is in one of the interface's subnets.
func (i Interface) onLink(addr netip.Addr) bool {
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// speaks says that the interface has an address of the same family.
func (i Interface) speaks(addr netip.Addr) bool {
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == addr.Is4() })
}

func containsPair(pairs []Pair, want Pair) bool {
	return slices.ContainsFunc(pairs, func(p Pair) bool {
		return p.Interface.Name == want.Interface.Name && p.Portal == want.Portal
	})
}

func describe(interfaces []Interface) string {
	var parts []string
	for _, i := range interfaces {
		parts = append(parts, fmt.Sprintf("%s (%s %v)", i.Name, i.NIC, i.Addrs))
	}
	if len(parts) == 0 {
		return "no interface"
	}
	return strings.Join(parts, ", ")
}
