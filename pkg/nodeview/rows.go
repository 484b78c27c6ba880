package nodeview

import (
	"net/netip"
	"slices"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Interface is a storage interface of this node.
type Interface struct {
	Name  string           `json:"name"`
	NIC   string           `json:"nic,omitempty"`
	State compliance.State `json:"state"`
	// Message and Fix are of the most important thing that is wrong; of a NIC that is well Message may say what it is.
	Message   string         `json:"message,omitempty"`
	Fix       string         `json:"fix,omitempty"`
	MAC       string         `json:"mac,omitempty"`
	Kind      string         `json:"kind,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Carrier   bool           `json:"carrier"`
	MTU       int            `json:"mtu,omitempty"`
	SpeedMbps int            `json:"speedMbps,omitempty"`
	// Sessions are those that are logged in, of SessionsTotal.
	Sessions      int    `json:"sessions"`
	SessionsTotal int    `json:"sessionsTotal"`
	RxBytes       uint64 `json:"rxBytes"`
	TxBytes       uint64 `json:"txBytes"`
}

// Session is a bound session.
type Session struct {
	ID        int    `json:"id"`
	State     string `json:"state"`
	Interface string `json:"interface"`
	NIC       string `json:"nic,omitempty"`
	// Portal is where the session is connected, Asked where it logs in: they differ after a login redirect.
	Portal          netip.AddrPort `json:"portal,omitzero"`
	Asked           netip.AddrPort `json:"asked,omitzero"`
	Target          string         `json:"target"`
	Initiator       string         `json:"initiator,omitempty"`
	RecoveryTimeout int            `json:"recoveryTimeoutSeconds"`
	Disks           []string       `json:"disks,omitempty"`
}

// Path is a path of a volume, or one that should be there.
type Path struct {
	Volume    string         `json:"volume"`
	Claim     string         `json:"claim,omitempty"`
	Interface string         `json:"interface"`
	NIC       string         `json:"nic,omitempty"`
	Portal    netip.AddrPort `json:"portal,omitzero"`
	// Session is the session's number; 0 without one.
	Session      int    `json:"session,omitempty"`
	SessionState string `json:"sessionState,omitempty"`
	Disk         string `json:"disk,omitempty"`
	HCTL         string `json:"hctl,omitempty"`
	DiskState    string `json:"diskState,omitempty"`
	// State is the map's view: active, failed, or missing.
	State string `json:"state"`
	Map   string `json:"map,omitempty"`
}

// States of a volume.
const (
	// Whole: all paths work.
	Whole = "whole"
	// Degraded: some do.
	Degraded = "degraded"
	// Inaccessible: none does, and I/O waits; Failing: it fails.
	Inaccessible = "inaccessible"
	Failing      = "failing"
	// Detached: it is staged and has no device.
	Detached = "detached"
	// NotStaged: its staging, or its unstaging, is not complete, or it was staged before the node booted.
	NotStaged = "not staged"
)

// Volume is a volume of this node.
type Volume struct {
	ID    string `json:"id"`
	Claim string `json:"claim,omitempty"`
	State string `json:"state"`
	// Working paths of Expected ones; Lost says what is missing.
	Working     int      `json:"workingPaths"`
	Expected    int      `json:"expectedPaths"`
	Lost        string   `json:"lost,omitempty"`
	Map         string   `json:"map,omitempty"`
	Device      string   `json:"device,omitempty"`
	SizeBytes   int64    `json:"sizeBytes,omitempty"`
	WWID        string   `json:"wwid,omitempty"`
	Interfaces  []string `json:"interfaces,omitempty"`
	Pairing     string   `json:"pairing,omitempty"`
	MinPaths    int      `json:"minPaths,omitempty"`
	Target      string   `json:"target"`
	LUN         int      `json:"lun"`
	StagingPath string   `json:"stagingPath,omitempty"`
	Published   []string `json:"published,omitempty"`
}

// InterfaceRows gives all interfaces, with and without a NIC.
func (s Snapshot) InterfaceRows() []Interface {
	rows := []Interface{}
	for _, status := range compliance.Evaluate(s.Compliance) {
		row := Interface{Name: status.Interface, NIC: status.NIC, State: status.State(), Message: status.Note}
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
		for _, x := range s.Sessions {
			if x.Iface != iscsi.IfaceName(status.Interface) {
				continue
			}
			row.SessionsTotal++
			if x.LoggedIn() {
				row.Sessions++
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// SessionRows gives the bound sessions.
func (s Snapshot) SessionRows() []Session {
	rows := []Session{}
	for _, x := range s.Sessions {
		name, _ := iscsi.InterfaceOf(x.Iface)
		row := Session{
			ID: x.ID, State: x.State, Interface: name, NIC: x.NIC, Portal: x.Portal, Asked: asked(x), Target: x.Target,
			Initiator: x.Initiator, RecoveryTimeout: x.RecoveryTimeout,
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
func (s Snapshot) PathRows() []Path {
	rows := []Path{}
	for _, r := range s.Records {
		rows = append(rows, s.pathRows(r)...)
	}
	return rows
}

func (s Snapshot) pathRows(r *staging.Record) []Path {
	v := s.Watched(r)
	m, _ := s.MapOf(s.WWID(r))
	base := Path{Volume: r.VolumeID, Claim: claim(r), Map: m.Name}
	var rows []Path
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
func (s Snapshot) VolumeRows() []Volume {
	rows := []Volume{}
	for _, r := range s.Records {
		rows = append(rows, s.volumeRow(r))
	}
	return rows
}

func (s Snapshot) volumeRow(r *staging.Record) Volume {
	a, wwid := r.Attachment, s.WWID(r)
	m, there := s.MapOf(wwid)
	v := s.Watched(r)
	report := pathwatch.Assess(v, s.Interfaces)
	row := Volume{
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
		row.State = NotStaged
	case !there:
		row.State = Detached
	default:
		row.State = stateOf(report, v.Fails)
	}
	return row
}

func stateOf(report pathwatch.Report, fails bool) string {
	switch {
	case len(report.Lost) == 0 && report.Alive:
		return Whole
	case report.Alive:
		return Degraded
	case fails:
		return Failing
	default:
		return Inaccessible
	}
}

func claim(r *staging.Record) string {
	if r.Claim.Name == "" {
		return ""
	}
	return r.Claim.Namespace + "/" + r.Claim.Name
}
