package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/compliance"
)

// checkReach looks at what the interfaces share, when none of several reaches anything.
func checkReach(f Facts) []Finding {
	var names []string
	for _, p := range f.Probes {
		if p.Err == nil {
			return nil
		}
		if name := p.Interface + " (" + p.NIC + ")"; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) < 2 {
		return nil
	}
	return []Finding{{
		Severity: Error, Check: "portal", Subject: "all", Seen: "no portal answers through any of " + strings.Join(names, ", "),
		Fix: "Look first at what all of them share: does the target host run, and the target on it; is there a firewall; one switch?",
	}}
}

// checkInterfaces judges the NICs, with what the probes add to it.
func checkInterfaces(f Facts) []Finding {
	if f.Node == nil {
		return nil
	}
	var all []Finding
	for _, status := range compliance.Evaluate(withProbes(f)) {
		subject := status.Interface
		if status.NIC != "" {
			subject += " (" + status.NIC + ")"
		}
		for _, found := range status.Findings {
			all = append(all, Finding{
				Severity: severityOf(f, status.Interface, found.State), Check: "interface", Subject: subject,
				Seen: string(found.State) + ": " + found.Message, Fix: found.Fix,
			})
		}
		switch {
		case status.Note != "":
			all = append(all, Finding{Severity: Info, Check: "interface", Subject: subject, Seen: status.Note})
		case len(status.Findings) == 0:
			all = append(all, Finding{Severity: OK, Check: "interface", Subject: subject, Seen: string(compliance.Compliant)})
		}
	}
	return all
}

// withProbes adds the interfaces through which no portal answered.
func withProbes(f Facts) compliance.Snapshot {
	s := f.Node.Compliance
	s.Unreachable = map[string]string{}
	for name, probes := range by(f.Probes, func(p Probe) string { return p.Interface }) {
		var failures []string
		for _, p := range probes {
			if p.Err != nil {
				failures = append(failures, fmt.Sprintf("%s: %v", p.Portal, p.Err))
			}
		}
		if len(failures) == len(probes) {
			s.Unreachable[name] = strings.Join(failures, "; ")
		}
	}
	return s
}

// severityOf: without its NIC an interface may be meant for other nodes, unless a volume here wants it.
func severityOf(f Facts, name string, state compliance.State) Severity {
	switch state {
	case compliance.Drained:
		return Info
	case compliance.ARPFlux, compliance.MTUMismatch:
		return Warning
	case compliance.NoNIC:
		for _, r := range f.Node.Records {
			if slices.Contains(r.Attachment.Interfaces, name) {
				return Error
			}
		}
		return Warning
	default:
		return Error
	}
}

// checkPortals tells of portals that do not answer through interfaces on which others do, and of packets that get lost for
// their size.
func checkPortals(f Facts) []Finding {
	if f.Node == nil {
		return nil
	}
	if len(f.Node.Records) == 0 && len(f.Portals) == 0 {
		return []Finding{{
			Severity: Info, Check: "portal", Seen: "none was tried: no volume is staged here, and the configuration names none",
			Fix: "--portal ADDRESS tries one; `portals` in the configuration has them tried always",
		}}
	}
	dead := withProbes(f).Unreachable
	portals := by(f.Probes, func(p Probe) netip.AddrPort { return p.Portal })
	var all []Finding
	for _, portal := range slices.SortedFunc(maps.Keys(portals), netip.AddrPort.Compare) {
		all = append(all, checkPortal(portal, portals[portal], dead)...)
	}
	return append(checkFrames(f.Probes), all...)
}

func checkPortal(portal netip.AddrPort, probes []Probe, dead map[string]string) []Finding {
	finding := Finding{Severity: OK, Check: "portal", Subject: portal.String()}
	var silent, through, evidence []string
	for _, p := range probes {
		name := p.Interface + " (" + p.NIC + ")"
		switch _, known := dead[p.Interface]; {
		case p.Err == nil:
			through = append(through, name)
		case !known:
			silent = append(silent, name)
			evidence = append(evidence, name+": "+p.Err.Error())
		}
	}
	finding.Evidence = evidence
	switch {
	case len(silent) == 0 && len(through) == 0:
		return nil // the interfaces' findings say why
	case len(silent) == 0:
		finding.Seen = "answers through " + strings.Join(through, ", ") + frames(probes)
	case len(through) == 0:
		finding.Severity = Error
		finding.Seen = "does not answer, while other portals do through the same interfaces: " + strings.Join(silent, ", ")
		finding.Fix = "Look at the target host: is the portal's address there, does the target listen on it (`ss -ltn`), does a firewall let it?"
	default:
		finding.Severity = Error
		finding.Seen = fmt.Sprintf("does not answer through %s; it does through %s", strings.Join(silent, ", "), strings.Join(through, ", "))
		finding.Fix = "Look at the way from that NIC: VLAN, switches; and at the target's routes: its answers may leave by another NIC"
	}
	return []Finding{finding}
}

// frames says what packets arrived.
func frames(probes []Probe) string {
	var sizes []string
	for _, p := range probes {
		if text := fmt.Sprint(p.Frame); p.Err == nil && p.FrameErr == nil && p.Frame > 0 && !slices.Contains(sizes, text) {
			sizes = append(sizes, text)
		}
	}
	if len(sizes) == 0 {
		return ""
	}
	return "; full packets of " + strings.Join(sizes, " and ") + " bytes arrive"
}

// checkFrames looks at how large packets may be, and tells of each interface what holds for several portals once.
func checkFrames(probes []Probe) []Finding {
	var all []Finding
	for _, p := range probes {
		found := checkFrame(p)
		if found == nil {
			continue
		}
		to := "to " + p.Portal.String()
		at := slices.IndexFunc(all, func(f Finding) bool { return f.Subject == found.Subject && f.Seen == found.Seen })
		if at < 0 {
			found.Evidence = []string{to}
			all = append(all, *found)
			continue
		}
		all[at].Evidence[0] += ", " + p.Portal.String()
	}
	return all
}

func checkFrame(p Probe) *Finding {
	finding := Finding{Severity: Warning, Check: "mtu", Subject: p.Interface + " (" + p.NIC + ")"}
	lower := fmt.Sprintf("Give the switches' ports and the target's NIC an MTU of %d, or lower that of %s: ip link set %s mtu ",
		p.NICMTU, p.NIC, p.NIC)
	switch {
	case p.Err != nil:
		return nil
	case p.FrameErr != nil:
		finding.Severity = Error
		finding.Seen = fmt.Sprintf("packets of %d bytes do not arrive, small ones do (%v): sessions log in, then I/O hangs", p.Frame, p.FrameErr)
		finding.Fix = lower + "1500, or what gets through"
	case p.PathMTU > 0 && p.PathMTU < p.NICMTU:
		finding.Seen = fmt.Sprintf("the way takes packets of %d bytes only, %s has MTU %d", p.PathMTU, p.NIC, p.NICMTU)
		finding.Fix = lower + fmt.Sprint(p.PathMTU)
	case p.Frame > 0 && p.Frame < p.NICMTU:
		finding.Seen = fmt.Sprintf("the target takes packets of %d bytes only, %s has MTU %d", p.Frame, p.NIC, p.NICMTU)
		finding.Fix = lower + fmt.Sprint(p.Frame)
	default:
		return nil
	}
	return &finding
}

// by groups in the order of the list.
func by[K cmp.Ordered | netip.AddrPort, V any](list []V, key func(V) K) map[K][]V {
	groups := map[K][]V{}
	for _, v := range list {
		groups[key(v)] = append(groups[key(v)], v)
	}
	return groups
}
