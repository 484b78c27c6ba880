package compliance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
)

// Evaluate judges every interface of a node. The result depends only on the snapshot.
func Evaluate(s Snapshot) []Status {
	var all []Status
	for _, i := range s.Interfaces.Interfaces {
		all = append(all, Status{Interface: i.Name, NIC: i.NIC, Findings: s.findings(i), Note: s.note(i)})
	}
	for _, p := range s.Interfaces.Problems {
		all = append(all, Status{Interface: p.Interface, Findings: []Finding{unresolved(p)}})
	}
	return all
}

func unresolved(p binding.Problem) Finding {
	f := Finding{State: NoNIC, Message: p.Err.Error()}
	switch {
	case errors.Is(p.Err, binding.ErrShared):
		f.State = DuplicateNIC
		f.Fix = "Give each interface a NIC of its own, or drop one of the names: two names on one NIC are no redundancy"
	case errors.Is(p.Err, binding.ErrAmbiguous):
		f.Fix = "Let the interface's entry in the node's configuration fit one NIC only"
	default:
		f.Fix = "Correct the interface's entry in the node's configuration, or add the NIC; `ip -br link` lists those that are there"
	}
	return f
}

// findings are what is wrong with an interface that has a NIC. Without a link or an address there is nothing more to say.
func (s Snapshot) findings(i binding.Interface) []Finding {
	if s.Interfaces.IsDrained(i.Name) {
		return []Finding{{Drained, "taken out of use for maintenance", "portbind-csi undrain " + i.Name + ", when that is over"}}
	}
	if f := s.link(i); f != nil {
		return []Finding{*f}
	}
	var all []Finding
	for _, check := range []func(binding.Interface) *Finding{
		s.subnet, s.rpFilter, s.arp, s.reach, s.mtu,
	} {
		if f := check(i); f != nil {
			all = append(all, *f)
		}
	}
	return all
}

// link looks at what the NIC must have before anything else.
func (s Snapshot) link(i binding.Interface) *Finding {
	nic, known := s.nic(i.NIC)
	switch {
	case !i.Up && known && !nic.AdminUp:
		return &Finding{LinkDown, i.NIC + " is administratively down", "ip link set " + i.NIC + " up"}
	case !i.Up:
		return &Finding{LinkDown, i.NIC + " has no carrier", "Look at the cable, the switch port, the bond's or bridge's ports"}
	case len(i.Addrs) > 0:
		return nil
	case nic.Enslaved:
		return &Finding{
			NoIP, fmt.Sprintf("%s is a port of %s and has no address of its own", i.NIC, nic.Master),
			fmt.Sprintf("Name %s as the interface, or take %s out of it and give it an address", nic.Master, i.NIC),
		}
	default:
		return &Finding{
			NoIP, i.NIC + " has no address",
			"Give " + i.NIC + " an address in the portals' subnet, in the host's network configuration",
		}
	}
}

func (s Snapshot) subnet(i binding.Interface) *Finding {
	wanted := s.wanted(i)
	if len(wanted) == 0 || len(s.reachable(i)) > 0 {
		return nil
	}
	return &Finding{
		WrongSubnet,
		fmt.Sprintf("%s (%s) is in no subnet of, and has no route to, any of the portals %s", i.NIC, texts(i.Addrs), texts(wanted)),
		"Give " + i.NIC + " an address in the portals' subnet, or a route to them through " + i.NIC + "; or name another NIC",
	}
}

// rpFilter looks for the strict reverse path filter where another NIC is the way back.
func (s Snapshot) rpFilter(i binding.Interface) *Finding {
	const strict = 1
	set, known := s.Sysctls[i.NIC]
	if !known || set.RPFilter != strict {
		return nil
	}
	for _, n := range s.neighbours(i) {
		if back, known := s.Returns[Way{i.NIC, n.own.Addr()}]; known && !back {
			return &Finding{
				FilteredByRPFilter,
				fmt.Sprintf("%s shares %s with %s, which is the way back, and rp_filter is strict: what comes in through %s is dropped",
					i.NIC, n.own.Masked(), n.nic, i.NIC),
				"sysctl -w " + sysctlName(i.NIC, "rp_filter") + "=2, or manageSysctls: true in the node's configuration",
			}
		}
	}
	return nil
}

// arp looks for what leads the others of the subnet to the wrong NIC, or to none. With arp_filter a NIC answers for an address where the
// way back from that address is through itself: for the right ones with policy routing; without, for all or for none.
func (s Snapshot) arp(i binding.Interface) *Finding {
	set, known := s.Sysctls[i.NIC]
	neighbours := s.neighbours(i)
	if !known || len(neighbours) == 0 {
		return nil
	}
	if n := s.silenced(i, neighbours); n != nil {
		return &Finding{
			ARPFlux,
			fmt.Sprintf("%s shares %s with %s, which is the way back, and does not answer ARP for its own address (arp_filter %d)",
				i.NIC, n.own.Masked(), n.nic, set.ARPFilter),
			fmt.Sprintf("sysctl -w net.ipv4.conf.all.arp_filter=0 %s=0, or a routing rule for what comes from %s",
				sysctlName(i.NIC, "arp_filter"), n.own.Addr()),
		}
	}
	apart := s.apart(i, neighbours)
	ignores := set.ARPIgnore == 1 || set.ARPIgnore == 2 || (set.ARPFilter == 1 && apart)
	if ignores && (set.ARPAnnounce == 2 || apart) {
		return nil
	}
	n := neighbours[0]
	return &Finding{
		ARPFlux,
		fmt.Sprintf("%s shares %s with %s, and answers ARP for its addresses or asks with them (arp_ignore %d, arp_announce %d)",
			i.NIC, n.own.Masked(), n.nic, set.ARPIgnore, set.ARPAnnounce),
		fmt.Sprintf("sysctl -w %s=1 %s=2, or manageSysctls: true in the node's configuration",
			sysctlName(i.NIC, "arp_ignore"), sysctlName(i.NIC, "arp_announce")),
	}
}

// silenced gives the neighbour that is the way back from an address of the interface's, for which arp_filter lets its NIC not answer.
func (s Snapshot) silenced(i binding.Interface, neighbours []neighbour) *neighbour {
	if s.Sysctls[i.NIC].ARPFilter == 0 {
		return nil
	}
	for _, n := range neighbours {
		if back, known := s.Returns[Way{i.NIC, n.own.Addr()}]; known && !back {
			return &n
		}
	}
	return nil
}

// apart says that policy routing keeps the NICs of a subnet apart: what comes from the interface's addresses goes through its NIC, and
// nothing from the others'.
func (s Snapshot) apart(i binding.Interface, neighbours []neighbour) bool {
	return !slices.ContainsFunc(neighbours, func(n neighbour) bool {
		strays, known := s.Strays[Way{i.NIC, n.other.Addr()}]
		return !s.Returns[Way{i.NIC, n.own.Addr()}] || strays || !known
	})
}

// sysctlName is as sysctl(8) takes it: dots in the name of a NIC become slashes.
func sysctlName(nic, key string) string {
	return "net.ipv4.conf." + strings.ReplaceAll(nic, ".", "/") + "." + key
}

func (s Snapshot) reach(i binding.Interface) *Finding {
	why, failed := s.Unreachable[i.Name]
	if !failed {
		return nil
	}
	return &Finding{
		NoPortalReachable, fmt.Sprintf("no portal answers through %s: %s", i.NIC, why),
		"Try `ping -I " + i.NIC + "` to a portal; look at the switch, the VLAN, a firewall, and whether the target listens",
	}
}

// mtu compares NICs that carry the paths of one volume, or are in one subnet.
func (s Snapshot) mtu(i binding.Interface) *Finding {
	own, known := s.nic(i.NIC)
	if !known {
		return nil
	}
	for _, other := range s.Interfaces.Interfaces {
		nic, there := s.nic(other.NIC)
		if there && nic.MTU > own.MTU && s.together(i, other) {
			return &Finding{
				MTUMismatch, fmt.Sprintf("%s has MTU %d, %s (%s) has %d", i.NIC, own.MTU, other.NIC, other.Name, nic.MTU),
				fmt.Sprintf("Give both the same MTU, one that the switches and the target take: ip link set %s mtu %d", i.NIC, nic.MTU),
			}
		}
	}
	return nil
}

// together says that two interfaces are in one subnet, or of one volume.
func (s Snapshot) together(a, b binding.Interface) bool {
	for _, p := range a.Addrs {
		if slices.ContainsFunc(b.Addrs, p.Overlaps) {
			return true
		}
	}
	return slices.ContainsFunc(s.Demands, func(d Demand) bool {
		return d.has(a.Name) && d.has(b.Name)
	})
}

// has says that a volume is to use an interface: one that it names, or one that it has a session through.
func (d Demand) has(name string) bool {
	return slices.Contains(d.Interfaces, name) ||
		slices.ContainsFunc(d.Sessions, func(s Session) bool { return s.Interface == name })
}

// note names what a NIC is when it is not just a NIC.
func (s Snapshot) note(i binding.Interface) string {
	nic, _ := s.nic(i.NIC)
	if nic.Kind != "bond" && nic.Kind != "team" {
		return ""
	}
	var ports []string
	for _, n := range s.Interfaces.NICs {
		if n.Master == nic.Name {
			ports = append(ports, n.Name)
		}
	}
	mode := ""
	if nic.Mode != "" {
		mode = fmt.Sprintf(" (%s, transmit hash %s)", nic.Mode, nic.Hash)
	}
	return fmt.Sprintf("%s is a %s%s of %s: it fails over; %s. Named as interfaces of their own, each with an address, "+
		"the ports would all carry I/O, and dm-multipath would fail over",
		nic.Name, nic.Kind, mode, strings.Join(ports, ", "), spread(nic.Mode))
}

// spread says what a bond does with the sessions.
func spread(mode string) string {
	switch mode {
	case "active-backup":
		return "all sessions use the active port, the others idle"
	case "balance-rr":
		return "it spreads the packets of each session, which then come out of order"
	default:
		return "each session uses one port, and several may use the same"
	}
}

func texts[T netip.Prefix | netip.AddrPort](list []T) string {
	all := make([]string, len(list))
	for i, x := range list {
		all[i] = fmt.Sprint(x)
	}
	return strings.Join(all, ", ")
}
