// Package nodeview is what there is on this node: its storage interfaces, the bound sessions, the volumes and their paths.
// One gatherer takes a snapshot and changes nothing; everything else is a pure function of that.
package nodeview

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/pkg/volume"
)

// Snapshot is a node at one moment.
type Snapshot struct {
	Interfaces binding.Resolution
	// Compliance is what the interfaces are judged by. No portal was asked for it.
	Compliance compliance.Snapshot
	// NICs are those of the interfaces, by name.
	NICs map[string]sysfs.NIC
	// Sessions are the bound ones of ours.
	Sessions []sysfs.Session
	// Disks are all SCSI disks that have a WWID.
	Disks []sysfs.Disk
	// Maps are all dm-multipath maps.
	Maps []Map
	// Records say what is staged here.
	Records []*staging.Record
	BootID  string
	// At is when the NICs were read.
	At time.Time
}

// Map is a dm-multipath map.
type Map struct {
	sysfs.Map

	// Paths are as the kernel has them, Queues says that I/O waits while none works.
	Paths  []multipath.PathState
	Queues bool
}

// Staged says that a volume was staged since the node has booted. Others are on their way, or of a boot before.
func (s Snapshot) Staged(r *staging.Record) bool { return r.Staged && r.BootID == s.BootID }

// MapOf finds the map of a volume; false when it has none.
func (s Snapshot) MapOf(wwid string) (Map, bool) {
	id, known := multipath.ID(wwid)
	for _, m := range s.Maps {
		if known && m.UUID == multipath.UUID(id) {
			return m, true
		}
	}
	for _, d := range s.disksOf(wwid) {
		for _, m := range s.Maps {
			if slices.Contains(m.Slaves, d.Name) {
				return m, true
			}
		}
	}
	return Map{}, false
}

// disksOf gives the disks of a volume.
func (s Snapshot) disksOf(wwid string) []sysfs.Disk {
	var all []sysfs.Disk
	for _, d := range s.Disks {
		if wwid != "" && d.WWID == wwid {
			all = append(all, d)
		}
	}
	return all
}

// WWID of a staged volume: that of its record, or else what its disks on its sessions report.
func (s Snapshot) WWID(r *staging.Record) string {
	if r.Attachment.WWID != "" {
		return r.Attachment.WWID
	}
	for _, d := range s.Disks {
		session, ours := s.sessionOf(d)
		if ours && session.Target == r.Attachment.Target && slices.Contains(sysfs.KernelLUNs(r.Attachment.LUN), d.HCTL.LUN) {
			return d.WWID
		}
	}
	return ""
}

// sessionOf gives the session that a disk is reached over, when it is one of ours.
func (s Snapshot) sessionOf(d sysfs.Disk) (sysfs.Session, bool) {
	at := slices.IndexFunc(s.Sessions, func(x sysfs.Session) bool { return x.Host == d.HCTL.Host })
	if at < 0 {
		return sysfs.Session{}, false
	}
	return s.Sessions[at], true
}

// PathsOf gives the paths of a volume, those in its map and those of ours that are not.
func (s Snapshot) PathsOf(wwid string) []attach.Path {
	m, _ := s.MapOf(wwid)
	var all []attach.Path
	for _, d := range s.disksOf(wwid) {
		session, ours := s.sessionOf(d)
		state := stateIn(m, d)
		if !ours && state == attach.StateMissing {
			continue
		}
		name, _ := iscsi.InterfaceOf(session.Iface)
		all = append(all, attach.Path{
			Interface: name, NIC: session.NIC, Portal: session.Portal, Asked: asked(session), Session: session.ID,
			HCTL: d.HCTL.String(), Disk: d.Name, SessionState: session.State, State: state,
		})
	}
	slices.SortFunc(all, func(x, y attach.Path) int {
		return cmp.Or(strings.Compare(x.Interface, y.Interface), x.Asked.Compare(y.Asked), strings.Compare(x.HCTL, y.HCTL))
	})
	return all
}

func stateIn(m Map, d sysfs.Disk) string {
	for _, p := range m.Paths {
		switch {
		case p.Devno != multipath.Devno{Major: d.Major, Minor: d.Minor}:
		case p.Active:
			return attach.StateActive
		default:
			return attach.StateFailed
		}
	}
	return attach.StateMissing
}

// asked is the portal that a session logs in at; after a redirect it is connected elsewhere.
func asked(s sysfs.Session) netip.AddrPort {
	if s.Persistent.IsValid() {
		return s.Persistent
	}
	return s.Portal
}

// Watched gives a volume as the judgement of its paths takes it.
func (s Snapshot) Watched(r *staging.Record) pathwatch.Volume {
	a, wwid := r.Attachment, s.WWID(r)
	m, there := s.MapOf(wwid)
	return pathwatch.Volume{
		ID: r.VolumeID, Claim: volume.Claim(r.Claim), Interfaces: a.Interfaces, Portals: a.Portals, Pairing: a.Pairing,
		Paths: s.PathsOf(wwid), Unknown: !there, Fails: there && !m.Queues,
	}
}

// demands are what the volumes, and the given portals, want of the interfaces.
func (s Snapshot) demands(portals []netip.AddrPort) []compliance.Demand {
	var all []compliance.Demand
	if len(portals) > 0 {
		all = append(all, compliance.Demand{Portals: portals, Pairing: binding.PairingAuto})
	}
	for _, r := range s.Records {
		d := compliance.Demand{
			Interfaces: r.Attachment.Interfaces, Portals: r.Attachment.Portals, Pairing: r.Attachment.Pairing, Volume: true,
		}
		for _, x := range s.Sessions {
			if name, _ := iscsi.InterfaceOf(x.Iface); x.LoggedIn() && x.Target == r.Attachment.Target {
				d.Sessions = append(d.Sessions, compliance.Session{Interface: name, Portal: asked(x)})
			}
		}
		all = append(all, d)
	}
	return all
}
