package nodeview

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/pkg/view"
)

// InterfaceRows gives all interfaces, with and without a NIC.
func (s Snapshot) InterfaceRows() []view.Interface {
	rows := []view.Interface{}
	for _, status := range compliance.Evaluate(s.Compliance) {
		row := view.Interface{Name: status.Interface, NIC: status.NIC, State: string(status.State()), Message: status.Note}
		if len(status.Findings) > 0 {
			row.Message, row.Fix = status.Findings[0].Message, status.Findings[0].Fix
		}
		for _, n := range s.Interfaces.NICs {
			if status.NIC != "" && n.Name == status.NIC {
				row.MAC, row.Kind, row.Addresses, row.MTU = n.MAC, n.Kind, n.Addrs, n.MTU
			}
		}
		nic := s.NICs[status.NIC]
		row.Carrier, row.SpeedMbps, row.RxBytes, row.TxBytes = nic.Carrier, nic.SpeedMbps, nic.RxBytes, nic.TxBytes
		row.Flaps, row.SampledAt = nic.Flaps, s.At
		s.countSessions(&row)
		rows = append(rows, row)
	}
	return rows
}

// endpoint is where a session of an interface leads.
type endpoint struct {
	target string
	portal netip.AddrPort
}

// countSessions counts those of an interface, and those that the volumes need of it.
func (s Snapshot) countSessions(row *view.Interface) {
	all, expected := map[endpoint]bool{}, s.expectedSessions(row.Name)
	for _, x := range s.Sessions {
		if x.Iface != iscsi.IfaceName(row.Name) {
			continue
		}
		all[endpoint{x.Target, asked(x)}] = true
		if x.LoggedIn() {
			row.Sessions++
		}
	}
	row.SessionsExpected = len(expected)
	maps.Copy(all, expected)
	row.SessionsTotal = len(all)
}

// expectedSessions are those that the staged volumes need of an interface. Several volumes share one.
func (s Snapshot) expectedSessions(name string) map[endpoint]bool {
	all := map[endpoint]bool{}
	for _, r := range s.Records {
		if !s.Staged(r) {
			continue
		}
		for _, p := range s.pathRows(r) {
			if p.Interface == name {
				all[endpoint{r.Attachment.Target, p.Portal}] = true
			}
		}
	}
	return all
}

// SessionRows gives the bound sessions.
func (s Snapshot) SessionRows() []view.Session {
	rows := []view.Session{}
	for _, x := range s.Sessions {
		name, _ := iscsi.InterfaceOf(x.Iface)
		row := view.Session{
			ID: x.ID, State: x.State, Interface: name, NIC: x.NIC, Portal: x.Portal, Asked: asked(x), Target: x.Target,
			Initiator: x.Initiator, RecoveryTimeout: x.RecoveryTimeout,
			NoopInterval: x.NoopInterval, NoopTimeout: x.NoopTimeout,
		}
		for _, d := range s.Disks {
			if d.HCTL.Host == x.Host {
				row.Disks = append(row.Disks, d.Name)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// PathRows gives the paths of the staged volumes, those that should be there and are not included.
func (s Snapshot) PathRows() []view.Path {
	rows := []view.Path{}
	for _, r := range s.Records {
		rows = append(rows, s.pathRows(r)...)
	}
	return rows
}

func (s Snapshot) pathRows(r *staging.Record) []view.Path {
	v := s.Watched(r)
	m, _ := s.MapOf(s.WWID(r))
	base := view.Path{Volume: r.VolumeID, Claim: claim(r), Map: m.Name}
	var rows []view.Path
	for _, p := range v.Paths {
		row := base
		row.Interface, row.NIC, row.Portal, row.Session, row.SessionState = p.Interface, p.NIC, p.Asked, p.Session, p.SessionState
		row.Disk, row.HCTL, row.State = p.Disk, p.HCTL, p.State
		if at := slices.IndexFunc(s.Disks, func(d sysfs.Disk) bool { return d.Name == p.Disk }); at >= 0 {
			row.DiskState = s.Disks[at].State
		}
		rows = append(rows, row)
	}
	if !s.Staged(r) {
		return rows
	}
	for _, l := range pathwatch.Assess(v, s.Interfaces).Lost {
		there := slices.ContainsFunc(v.Paths, func(p attach.Path) bool { return p.Interface == l.Interface && p.Asked == l.Portal })
		if there {
			continue
		}
		row := base
		row.Interface, row.NIC, row.Portal, row.State = l.Interface, l.NIC, l.Portal, attach.StateMissing
		rows = append(rows, row)
	}
	return rows
}

// VolumeRows gives the volumes of this node.
func (s Snapshot) VolumeRows() []view.Volume {
	rows := []view.Volume{}
	for _, r := range s.Records {
		rows = append(rows, s.volumeRow(r))
	}
	return rows
}

func (s Snapshot) volumeRow(r *staging.Record) view.Volume {
	a, wwid := r.Attachment, s.WWID(r)
	m, there := s.MapOf(wwid)
	v := s.Watched(r)
	report := pathwatch.Assess(v, s.Interfaces)
	row := view.Volume{
		ID: r.VolumeID, Claim: claim(r), Working: report.Working, Expected: report.Expected, Lost: report.Text,
		Map: m.Name, Device: m.Device, SizeBytes: m.SizeBytes, WWID: wwid, Interfaces: a.Interfaces, Pairing: string(a.Pairing),
		MinPaths: a.MinPaths, Target: a.Target, LUN: a.LUN, StagingPath: r.StagingPath,
	}
	for path := range r.Published {
		row.Published = append(row.Published, path)
	}
	slices.Sort(row.Published)
	switch {
	case !s.Staged(r):
		row.State = view.NotStaged
	case !there:
		row.State = view.Detached
	default:
		row.State = stateOf(report, v.Fails)
	}
	return row
}

func stateOf(report pathwatch.Report, fails bool) string {
	switch {
	case len(report.Lost) == 0 && report.Alive:
		return view.Whole
	case report.Alive:
		return view.Degraded
	case fails:
		return view.Failing
	default:
		return view.Inaccessible
	}
}

func claim(r *staging.Record) string {
	if r.Claim.Name == "" {
		return ""
	}
	return r.Claim.Namespace + "/" + r.Claim.Name
}
