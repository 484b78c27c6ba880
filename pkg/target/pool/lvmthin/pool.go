package lvmthin

import (
	"context"
	"fmt"
	"time"

	"github.com/portbind/portbind/pkg/target/pool"
)

// Limits say when a pool takes no more volumes, snapshots and growth.
type Limits struct {
	// Data and Metadata are used fractions of the thin pool, 0 to 1.
	Data, Metadata float64
	// WarnData and WarnMetadata are those from which on the pool is reported as nearly full; 0: never.
	WarnData, WarnMetadata float64
	// Overcommit is how many times the pool's size all volumes together may have; 0 is no limit.
	Overcommit float64
}

// maxVGMetadata is the used fraction of the group's text metadata from which on nothing is made any more: LVM
// itself fails in ugly ways when it is full, and then cannot even extend the pool.
const maxVGMetadata = 0.9

// Config is one pool.
type Config struct {
	// Name is ours, ThinPool LVM's of the LV.
	Name, ThinPool string
	Limits         Limits
}

// Pool is one thin pool of a Group. It implements pool.Driver.
type Pool struct {
	group *Group
	cfg   Config
	usage usage
	now   func() time.Time
	// on and off make and remove block devices.
	on, off *together
}

var _ pool.Driver = (*Pool)(nil)

// Pool gives a thin pool of the group.
func (g *Group) Pool(cfg Config) *Pool {
	p := &Pool{group: g, cfg: cfg, usage: usage{gate: make(gate, 1)}, now: time.Now}
	p.on, p.off = &together{run: p.activate}, &together{run: p.deactivate}
	return p
}

// Volumes implements pool.Driver.
func (p *Pool) Volumes(ctx context.Context) ([]pool.Volume, error) {
	l, err := p.group.list(ctx)
	if err != nil {
		return nil, p.wrap("list volumes", err)
	}
	var out []pool.Volume
	for _, v := range l.of(p.cfg.Name, volumeKind) {
		if v.grow == 0 {
			out = append(out, v.volume())
		}
	}
	return out, nil
}

// Snapshots implements pool.Driver.
func (p *Pool) Snapshots(ctx context.Context) ([]pool.Snapshot, error) {
	l, err := p.group.list(ctx)
	if err != nil {
		return nil, p.wrap("list snapshots", err)
	}
	var out []pool.Snapshot
	for _, v := range l.of(p.cfg.Name, snapshotKind) {
		out = append(out, v.snapshot())
	}
	return out, nil
}

// begin takes the group's lock and lists it.
func (p *Pool) begin(ctx context.Context) (listing, func(), error) {
	if err := p.group.change.lock(ctx); err != nil {
		return listing{}, nil, err
	}
	l, err := p.group.list(ctx)
	if err != nil {
		p.group.change.unlock()
		return listing{}, nil, err
	}
	return l, p.group.change.unlock, nil
}

func (p *Pool) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pool %s: %s: %w", p.cfg.Name, op, err)
}
