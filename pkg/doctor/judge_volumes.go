package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/nodeview"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/staging"
)

// checkSessions looks for sessions that run where they should not.
func checkSessions(f Facts) []Finding {
	if f.Node == nil || len(f.Node.Sessions) == 0 {
		return nil
	}
	var all []Finding
	down := 0
	for _, s := range f.Node.Sessions {
		if !s.LoggedIn() {
			down++
		}
		name, _ := iscsi.InterfaceOf(s.Iface)
		at := slices.IndexFunc(f.Node.Interfaces.Interfaces, func(i binding.Interface) bool { return i.Name == name })
		if at < 0 || s.NIC == f.Node.Interfaces.Interfaces[at].NIC {
			continue
		}
		all = append(all, Finding{
			Severity: Warning, Check: "session", Subject: fmt.Sprint(s.ID),
			Seen: fmt.Sprintf("it runs through %s, but %s is %s now", s.NIC, name, f.Node.Interfaces.Interfaces[at].NIC),
			Fix:  "It stays while it has disks: move the pods of its volumes off this node, or name the former NIC again",
		})
	}
	all = append(all, Finding{
		Severity: OK, Check: "sessions", Seen: fmt.Sprintf("%d of %d are logged in", len(f.Node.Sessions)-down, len(f.Node.Sessions)),
	})
	if down > 0 {
		all[len(all)-1].Severity = Info // what it means for volumes is said of them
	}
	return all
}

// checkVolumes holds the paths of each staged volume against those that it should have.
func checkVolumes(f Facts) []Finding {
	if f.Node == nil {
		return nil
	}
	var all []Finding
	for _, r := range f.Node.Records {
		all = append(all, checkVolume(f, r)...)
	}
	return all
}

func checkVolume(f Facts, r *staging.Record) []Finding {
	finding := Finding{Severity: OK, Check: "volume", Subject: r.VolumeID}
	if r.Claim.Name != "" {
		finding.Subject += " (" + r.Claim.Namespace + "/" + r.Claim.Name + ")"
	}
	report := pathwatch.Assess(f.Node.Watched(r), f.Node.Interfaces)
	m, there := f.Node.MapOf(f.Node.WWID(r))
	switch {
	case !f.Node.Staged(r):
		finding.Severity = Info
		finding.Seen = "it is being staged or unstaged, or was staged before the node has booted: kubelet repeats the call"
		return []Finding{finding}
	case !there:
		finding.Severity, finding.Seen = Error, "it is staged and has no multipath map: whoever uses it gets errors"
		finding.Fix = "Delete its pod: the volume is unstaged and staged again. The node plugin's log and dmesg say where the map went"
		return []Finding{finding}
	case len(report.Lost) == 0:
		finding.Seen = fmt.Sprintf("all %d paths work", report.Expected)
	case report.Alive:
		finding.Severity = Warning
		finding.Seen = fmt.Sprintf("%d of %d paths work", report.Working, report.Expected)
	default:
		finding.Severity = Error
		finding.Seen = fmt.Sprintf("none of %d paths works, I/O waits", report.Expected)
		if !m.Queues {
			finding.Seen = fmt.Sprintf("none of %d paths works, and I/O fails", report.Expected)
		}
	}
	if len(report.Lost) > 0 {
		finding.Evidence = []string{report.Text}
		finding.Fix = fixPaths(f, report)
	}
	return append([]Finding{finding}, checkManaged(f, r, m)...)
}

// fixPaths says what to do about lost paths, as far as the probes tell.
func fixPaths(f Facts, report pathwatch.Report) string {
	var refused []string
	for _, l := range report.Lost {
		answers := slices.ContainsFunc(f.Probes, func(p Probe) bool {
			return p.Err == nil && p.Interface == l.Interface && p.Portal == l.Portal
		})
		if l.Down && answers {
			refused = append(refused, fmt.Sprintf("%s through %s", l.Portal, l.Interface))
		}
	}
	if len(refused) == 0 {
		return "Mend what is said of interfaces, portals and daemons here: paths return by themselves"
	}
	return strings.Join(refused, ", ") + ": the portal answers, but the session is not logged in. Give it half a minute; if it stays, the " +
		"target refuses it (CHAP, or the node has no access any more): `journalctl -u iscsid` has the reason"
}

// checkManaged looks whether multipathd cares for the map: without it failed paths stay failed.
func checkManaged(f Facts, r *staging.Record, m nodeview.Map) []Finding {
	id := strings.TrimPrefix(m.UUID, multipath.UUID(""))
	if f.Managed == nil || f.Managed[id] {
		return nil
	}
	return []Finding{{
		Severity: Warning, Check: "volume", Subject: r.VolumeID,
		Seen: "multipathd does not know its map " + m.Name + ": failed paths are not taken back",
		Fix:  "multipathd add map " + m.Name,
	}}
}
