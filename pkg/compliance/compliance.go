// Package compliance says of each storage interface of this node whether it can do what binding needs: one state, what
// is wrong in words, and how to mend it. The judgement is a pure function of a snapshot of the node; a watcher takes
// snapshots and tells what has changed.
package compliance

import (
	"net/netip"
	"slices"

	"github.com/portbind/portbind/pkg/binding"
)

// State is how an interface is.
type State string

// The states, in the order in which they count: where several hold, the first is an interface's state, for it may be the
// cause of the others.
const (
	// NoNIC: no NIC of this node fits, or several do.
	NoNIC State = "NoNIC"
	// DuplicateNIC: another interface has the same NIC.
	DuplicateNIC State = "DuplicateNIC"
	// Drained: it is taken out of use for maintenance, and nothing else is said of it.
	Drained State = "Drained"
	// LinkDown: the NIC is down or has no carrier.
	LinkDown State = "LinkDown"
	// NoIP: the NIC is up and has no address.
	NoIP State = "NoIP"
	// WrongSubnet: none of the portals is in a subnet of the NIC, and no route leads to one through it.
	WrongSubnet State = "WrongSubnet"
	// FilteredByRPFilter: the kernel drops what comes in, since it would answer through another NIC of the same subnet.
	FilteredByRPFilter State = "FilteredByRPFilter"
	// ARPFlux: the NIC answers for addresses of another one in the same subnet, or asks with them; or not for its own.
	ARPFlux State = "ARPFlux"
	// NoPortalReachable: no portal answers through the NIC.
	NoPortalReachable State = "NoPortalReachable"
	// MTUMismatch: another NIC that is used together with this one takes larger frames.
	MTUMismatch State = "MTUMismatch"
	// Compliant: nothing is wrong.
	Compliant State = "Compliant"
)

// States are all of them.
func States() []State {
	return []State{
		NoNIC, DuplicateNIC, Drained, LinkDown, NoIP, WrongSubnet, FilteredByRPFilter, ARPFlux, NoPortalReachable, MTUMismatch, Compliant,
	}
}

// Present says whether a node with an interface of this state has it, for the scheduler. It has not where somebody must
// change the configuration first. What may pass by itself (a cable, a switch, a target) or concerns one target of
// several does not take the node's volumes away from it: Kubernetes reads this once, when the plugin registers.
func (s State) Present() bool { return s != NoNIC && s != DuplicateNIC && s != NoIP }

// Finding is one thing that is wrong.
type Finding struct {
	State State
	// Message says what is wrong, Fix what to do about it.
	Message, Fix string
}

// Status is how one interface is.
type Status struct {
	// Interface is its name, NIC the network device; empty without one.
	Interface, NIC string
	// Findings are what is wrong, the most important first. None: compliant.
	Findings []Finding
	// Note is what to know of a NIC with which nothing is wrong, such as that it is a bond.
	Note string
}

// State is the most important thing to say.
func (s Status) State() State {
	if len(s.Findings) == 0 {
		return Compliant
	}
	return s.Findings[0].State
}

// Demand is what one volume, or an administrator's list of portals, wants of interfaces.
type Demand struct {
	// Interfaces are names; none means all.
	Interfaces []string
	Portals    []netip.AddrPort
	Pairing    binding.Pairing
	// Sessions are those that are logged in.
	Sessions []Session
	// Volume says that it is of a staged volume, so that sessions should be there.
	Volume bool
}

// Session is a bound session.
type Session struct {
	Interface string
	Portal    netip.AddrPort
}

// Sysctls are what the kernel does with IPv4 packets and ARP requests on a NIC: the larger of what is set for all NICs
// and for this one.
type Sysctls struct {
	RPFilter, ARPIgnore, ARPAnnounce, ARPFilter int
}

// Way is a NIC and an address that is reached through it.
type Way struct {
	NIC  string
	Addr netip.Addr
}

// Snapshot is a node at one moment. What is not in it is not known, and nothing is held against an interface for it.
type Snapshot struct {
	Interfaces binding.Resolution
	Demands    []Demand
	// Sysctls are by NIC.
	Sysctls map[string]Sysctls
	// Routed says whether the routing table leads to an address through a NIC.
	Routed map[Way]bool
	// Returns says whether the routing table sends what comes from an address of a NIC through that NIC, Strays whether it sends
	// through that NIC what comes from another NIC's.
	Returns, Strays map[Way]bool
	// Unreachable says, by interface, why no portal answers through its NIC.
	Unreachable map[string]string
}

// wanted are the portals that an interface is to reach. With fabrics and interfaces that the volume does not name, it is for
// the subnets to say which meet.
func (s Snapshot) wanted(i binding.Interface) []netip.AddrPort {
	var all []netip.AddrPort
	for _, d := range s.Demands {
		if len(d.Interfaces) > 0 && !slices.Contains(d.Interfaces, i.Name) {
			continue
		}
		for _, p := range d.Portals {
			optional := d.Pairing == binding.PairingFabric && len(d.Interfaces) == 0 && !onLink(i, p.Addr())
			if !optional && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// reachable are those that a packet from the NIC can get to, as far as addresses and routes say.
func (s Snapshot) reachable(i binding.Interface) []netip.AddrPort {
	return slices.DeleteFunc(s.wanted(i), func(p netip.AddrPort) bool {
		return !onLink(i, p.Addr()) && !s.Routed[Way{i.NIC, p.Addr()}]
	})
}

func onLink(i binding.Interface, addr netip.Addr) bool {
	return slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// connected says that some session of the interface is logged in.
func (s Snapshot) connected(name string) bool {
	return slices.ContainsFunc(s.Demands, func(d Demand) bool {
		return slices.ContainsFunc(d.Sessions, func(x Session) bool { return x.Interface == name })
	})
}

// nic finds a NIC by its name.
func (s Snapshot) nic(name string) (binding.NIC, bool) {
	at := slices.IndexFunc(s.Interfaces.NICs, func(n binding.NIC) bool { return n.Name == name })
	if at < 0 {
		return binding.NIC{}, false
	}
	return s.Interfaces.NICs[at], true
}

// neighbour is a NIC with a subnet that another NIC is in as well, and what both have there.
type neighbour struct {
	own, other netip.Prefix
	nic        string
}

// neighbours are the NICs that share an IPv4 subnet with an interface, be they storage ports or not. A single address is
// no subnet.
func (s Snapshot) neighbours(i binding.Interface) []neighbour {
	var all []neighbour
	for _, n := range s.Interfaces.NICs {
		if n.Name == i.NIC || n.Enslaved {
			continue
		}
		for _, own := range i.Addrs {
			if at := slices.IndexFunc(n.Addrs, func(other netip.Prefix) bool { return shared(own, other) }); at >= 0 {
				all = append(all, neighbour{own, n.Addrs[at], n.Name})
				break
			}
		}
	}
	return all
}

func shared(a, b netip.Prefix) bool {
	return a.Addr().Is4() && b.Addr().Is4() && !a.IsSingleIP() && !b.IsSingleIP() && a.Overlaps(b)
}
