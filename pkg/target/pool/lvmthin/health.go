package lvmthin

import (
	"context"
	"fmt"

	"github.com/portbind/portbind/pkg/target/pool"
)

// warnVGMetadata is the used fraction of the group's text metadata from which on it is reported.
const warnVGMetadata = 0.8

// Problems implements pool.Driver.
func (p *Pool) Problems(ctx context.Context) ([]pool.Problem, error) {
	s, err := p.status(ctx)
	if err != nil {
		return nil, p.wrap("look at the thin pool", err)
	}
	return p.problems(s), nil
}

func (p *Pool) problems(s status) []pool.Problem {
	if !s.active {
		return []pool.Problem{{Severity: pool.Inaccessible, Reason: "ThinPoolInactive", Message: fmt.Sprintf(
			"thin pool %s is not active: lvchange -ay %[1]s", p.group.lvm.path(p.cfg.ThinPool))}}
	}
	var found []pool.Problem
	if s.health != "" {
		found = append(found, p.ill(s))
	}
	return append(found, p.filling(s)...)
}

// healths are what lvs says in lv_health_status of a thin pool (lvs(8)), and what each does to its volumes.
var healths = map[string]pool.Problem{
	"failed": {Severity: pool.Inaccessible, Reason: "ThinPoolFailed", Message: "has failed: every I/O of its volumes fails"},
	"out_of_data": {Severity: pool.Inaccessible, Reason: "ThinPoolOutOfData", Message: "is full: writes to new places wait or fail, " +
		"as lv_when_full says"},
	"metadata_read_only": {Severity: pool.Inaccessible, Reason: "ThinPoolReadOnly", Message: "has read-only metadata: writes to new " +
		"places fail"},
	// With RAID below it goes on working; without, what is on that disk fails.
	"partial": {Severity: pool.Degraded, Reason: "ThinPoolPartial", Message: "lacks a disk of its volume group"},
}

// ill names the state that LVM reports.
func (p *Pool) ill(s status) pool.Problem {
	known, ok := healths[s.health]
	if !ok {
		known = pool.Problem{Severity: pool.Degraded, Reason: "ThinPoolUnwell", Message: fmt.Sprintf("is in the state %q", s.health)}
	}
	vg, name := p.group.lvm.vg, p.group.lvm.path(p.cfg.ThinPool)
	known.Message = fmt.Sprintf("thin pool %s %s: see lvs -a %s and lvmthin(7)", name, known.Message, vg)
	return known
}

// filling tells what is nearly used up.
func (p *Pool) filling(s status) []pool.Problem {
	var found []pool.Problem
	lim, name := p.cfg.Limits, p.group.lvm.path(p.cfg.ThinPool)
	warn := func(reason, format string, args ...any) {
		found = append(found, pool.Problem{Severity: pool.Degraded, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	if lim.WarnData > 0 && s.data >= lim.WarnData {
		warn("ThinPoolDataNearlyFull", "the data of thin pool %s is %.1f %% full: extend it (lvextend -L +SIZE %[1]s) or delete volumes "+
			"and snapshots", name, 100*s.data)
	}
	if lim.WarnMetadata > 0 && s.metadata >= lim.WarnMetadata {
		warn("ThinPoolMetadataNearlyFull", "the metadata of thin pool %s is %.1f %% full: extend it (lvextend --poolmetadatasize "+
			"+SIZE %[1]s) or delete snapshots", name, 100*s.metadata)
	}
	if s.vgMetadata >= warnVGMetadata {
		warn("VolumeGroupMetadataNearlyFull", "the metadata area of volume group %s is %.1f %% full: delete volumes and snapshots",
			p.group.lvm.vg, 100*s.vgMetadata)
	}
	return found
}
