package binding

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// What can be wrong with one interface on this node.
var (
	// ErrMissing: no NIC of this node fits.
	ErrMissing = errors.New("no such NIC on this node")
	// ErrAmbiguous: one entry fits several NICs.
	ErrAmbiguous = errors.New("several NICs fit")
	// ErrShared: the NIC already has another name. Two names on one NIC would look like redundancy and be none.
	ErrShared = errors.New("NIC has another name already")
)

// Problem is an interface that has no NIC on this node, and why.
type Problem struct {
	// Interface is its name.
	Interface string
	// Err wraps ErrMissing, ErrAmbiguous or ErrShared.
	Err error
}

// Resolution is what a configuration means on this node. A problem with one interface does not affect the others.
type Resolution struct {
	// Interfaces are those with a NIC, in the order of the configuration.
	Interfaces []Interface
	// Problems are those without, in the same order.
	Problems []Problem
	// NICs are all that there are on this node.
	NICs []NIC
	// Drained are the names of interfaces that are taken out of use for maintenance. They are among the others all the same.
	Drained []string
}

// NIC is a network device of this node.
type NIC struct {
	Name string
	MAC  string
	// Index is the kernel's number of it, of this boot.
	Index int
	// Kind is what the kernel calls a device that is made of software: bond, vlan, bridge, veth, ...; else "device".
	Kind string
	// Enslaved says that it is a port of a bond, team or bridge and carries no addresses of its own; Master names that.
	Enslaved bool
	Master   string
	// Driver and PCI are the kernel driver and the address on the PCI bus, where there are any and somebody asks for them.
	Driver, PCI string
	// Mode and Hash are a bond's: active-backup, layer2, ...
	Mode, Hash string
	MTU        int
	// Addrs are global unicast addresses with their prefix lengths.
	Addrs []netip.Prefix
	// Up says that it is administratively up (as AdminUp alone does) and has a carrier.
	Up, AdminUp bool
}

// Resolve gives each name of a valid configuration its NIC. The result depends only on its arguments.
func Resolve(c Config, nics []NIC) Resolution {
	r := Resolution{NICs: nics}
	taken := map[string]string{}
	for _, name := range c.names() {
		nic, err := c.find(name, nics)
		if owner, ok := taken[nic.Name]; err == nil && ok {
			err = fmt.Errorf("interface %q: NIC %s: %w: %q", name, nic.Name, ErrShared, owner)
		}
		if err != nil {
			r.Problems = append(r.Problems, Problem{name, err})
			continue
		}
		taken[nic.Name] = name
		r.Interfaces = append(r.Interfaces, Interface{Name: name, NIC: nic.Name, MAC: nic.MAC, Addrs: nic.Addrs, Up: nic.Up})
	}
	return r
}

// names are the distinct ones in order of their first entries.
func (c Config) names() []string {
	var names []string
	for _, entry := range c.Interfaces {
		if !slices.Contains(names, entry.Name) {
			names = append(names, entry.Name)
		}
	}
	return names
}

// find tries the entries of one name; the first that fits any NIC decides, be it by ErrAmbiguous.
func (c Config) find(name string, nics []NIC) (NIC, error) {
	var tried []string
	for _, entry := range c.Interfaces {
		if entry.Name != name {
			continue
		}
		found := entry.match(nics)
		switch len(found) {
		case 0:
			tried = append(tried, entry.criterion())
		case 1:
			return found[0], nil
		default:
			return NIC{}, fmt.Errorf("interface %q: %s: %w: %s; name the NIC by netdev or mac",
				name, entry.criterion(), ErrAmbiguous, nicNames(found))
		}
	}
	return NIC{}, fmt.Errorf("interface %q: %w: looked for %s, there are %s",
		name, ErrMissing, strings.Join(tried, ", "), nicNames(nics))
}

// match gives the NICs that fit one entry.
func (c InterfaceConfig) match(nics []NIC) []NIC {
	want := c.canonical()
	subnet, _ := netip.ParsePrefix(want.CIDR)
	var found []NIC
	for _, nic := range nics {
		glob, _ := path.Match(want.NetDev, nic.Name)
		switch {
		case want.NetDev != "" && nic.Name == want.NetDev,
			want.PCI != "" && nic.PCI == want.PCI,
			// The ports of a bond have the bond's address; the one that carries traffic is the bond.
			glob && !nic.Enslaved,
			want.MAC != "" && nic.MAC == want.MAC && !nic.Enslaved,
			want.Driver != "" && nic.Driver == want.Driver && !nic.Enslaved,
			want.CIDR != "" && slices.ContainsFunc(nic.Addrs, func(a netip.Prefix) bool { return subnet.Contains(a.Addr()) }):
			found = append(found, nic)
		}
	}
	return found
}

// criterion says what an entry looks for.
func (c InterfaceConfig) criterion() string {
	for _, rule := range c.rules() {
		if rule.value != "" {
			return rule.key + " " + rule.value
		}
	}
	return "nothing"
}

func nicNames(nics []NIC) string {
	if len(nics) == 0 {
		return "none"
	}
	names := make([]string, len(nics))
	for i, nic := range nics {
		names[i] = nic.Name
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
