package nodeview

import (
	"fmt"
	"slices"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/staging"
)

// Blocker is a volume that cannot do without an interface, and why.
type Blocker struct {
	Volume string `json:"volume"`
	Claim  string `json:"claim,omitempty"`
	Reason string `json:"reason"`
}

// Blocking gives the volumes that cannot do without an interface now. The node plugin holds each volume against the same bound, by
// the kernel's table, when it takes paths away.
func (s Snapshot) Blocking(name string) []Blocker {
	without := s.Interfaces
	without.Drained = append(slices.Clone(without.Drained), name)
	var all []Blocker
	for _, r := range s.Records {
		v := s.Watched(r)
		if !s.Staged(r) || v.Unknown {
			continue
		}
		now, then := pathwatch.Assess(v, s.Interfaces), pathwatch.Assess(v, without)
		if now.Expected == then.Expected && len(s.disksOver(name, r)) == 0 {
			continue // it does not use it
		}
		if reason := blocks(then, r.Attachment.MinPaths); reason != "" {
			all = append(all, Blocker{Volume: r.VolumeID, Claim: claim(r), Reason: reason})
		}
	}
	return all
}

// blocks says why a volume cannot be left with what there would be; empty when it can.
func blocks(left pathwatch.Report, minPaths int) string {
	wanted := max(1, min(minPaths, left.Expected))
	switch {
	case left.Expected == 0:
		return "it has no other interface to use"
	case left.Working < wanted:
		return fmt.Sprintf("%d of its %d other paths work, wanted are %d: %s", left.Working, left.Expected, wanted, left.Text)
	default:
		return ""
	}
}

func (s Snapshot) disksOver(name string, r *staging.Record) (disks []string) {
	for _, p := range s.PathsOf(s.WWID(r)) {
		if p.Interface == name {
			disks = append(disks, p.Disk)
		}
	}
	return disks
}

// Over counts the sessions of an interface, and the disks on them.
func (s Snapshot) Over(name string) (sessions, disks int) {
	for _, x := range s.Sessions {
		if x.Iface != iscsi.IfaceName(name) {
			continue
		}
		sessions++
		for _, d := range s.Disks {
			if d.HCTL.Host == x.Host {
				disks++
			}
		}
	}
	return sessions, disks
}

// Missing names what volumes lack over an interface, in a sentence for each; none when all have it.
func (s Snapshot) Missing(name string) []Blocker {
	var all []Blocker
	for _, r := range s.Records {
		v := s.Watched(r)
		if !s.Staged(r) || v.Unknown {
			continue
		}
		report := pathwatch.Assess(v, s.Interfaces)
		if slices.ContainsFunc(report.Lost, func(l pathwatch.Loss) bool { return l.Interface == name }) {
			all = append(all, Blocker{Volume: r.VolumeID, Claim: claim(r), Reason: report.Text})
		}
	}
	return all
}
