package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
)

// checkUnbound tells of sessions of others that the routing table leads, where several of our NICs share the portal's subnet: all of
// them go through one.
func checkUnbound(f Facts) []Finding {
	if f.Node == nil {
		return nil
	}
	var evidence, sharing []string
	for _, s := range f.Unbound {
		names := onLink(f.Node.Interfaces.Interfaces, s.Portal.Addr())
		if len(names) < 2 {
			continue
		}
		for _, name := range names {
			if !slices.Contains(sharing, name) {
				sharing = append(sharing, name)
			}
		}
		evidence = append(evidence, fmt.Sprintf("session %d to %s goes out from %s; %s", s.ID, s.Portal, s.Local, s.Target))
	}
	if len(evidence) == 0 {
		return nil
	}
	return []Finding{{
		Severity: Warning, Check: "session", Subject: "unbound", Evidence: evidence,
		Seen: fmt.Sprintf("sessions of others are bound to no NIC, and %s share the subnet of their portals: the routing table sends all of "+
			"them through one NIC, and the others carry none", strings.Join(sharing, ", ")),
		Fix: "Log them out and use their LUNs as static volumes, which are bound; or give each an iface record of its own that names " +
			"its NIC (iface.net_ifacename)",
	}}
}

// onLink names the interfaces that an address is in a subnet of.
func onLink(all []binding.Interface, a netip.Addr) (names []string) {
	for _, i := range all {
		if slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			names = append(names, i.Name+" ("+i.NIC+")")
		}
	}
	return names
}
