package lvmthin

import (
	"context"
	"fmt"

	"github.com/portbind/portbind/pkg/target/pool"
)

// CreateSnapshot implements pool.Driver. A thin snapshot is a volume of its own that shares blocks: it stays when
// its source goes.
func (p *Pool) CreateSnapshot(ctx context.Context, name, source string) (pool.Snapshot, error) {
	v, err := retried(func() (lv, error) { return p.createSnapshot(ctx, name, source) })
	if err != nil {
		return pool.Snapshot{}, p.wrap("create snapshot "+name, err)
	}
	return v.snapshot(), nil
}

func (p *Pool) createSnapshot(ctx context.Context, name, source string) (lv, error) {
	lvName := snapshotLV(name)
	if err := checkName(p.group.lvm.vg, lvName); err != nil {
		return lv{}, err
	}
	l, unlock, err := p.begin(ctx)
	if err != nil {
		return lv{}, err
	}
	defer unlock()
	if v, ok := l.find(p.cfg.Name, lvName, snapshotKind); ok {
		if v.source.Name != source {
			return lv{}, fmt.Errorf("%w: it is of volume %s", pool.ErrExists, v.source.Name)
		}
		return v, nil
	}
	if by := l.taken(p.cfg.Name, lvName); by != "" {
		return lv{}, fmt.Errorf("%w: the name is taken by %s", pool.ErrExists, by)
	}
	origin, err := p.origin(l, pool.Source{Kind: pool.FromVolume, Name: source})
	if err != nil {
		return lv{}, err
	}
	s, err := p.status(ctx)
	if err != nil {
		return lv{}, err
	}
	if err := p.room(s, l, 0); err != nil {
		return lv{}, err
	}
	v := lv{
		lv: lvName, kind: snapshotKind, pool: p.cfg.Name, name: name, size: origin.size,
		source: pool.Source{Kind: pool.FromVolume, Name: source}, created: p.now(),
	}
	err = p.group.lvm.createFrom(ctx, v, origin.lv)
	return v, p.group.noted(err, v.lv, &v)
}

// DeleteSnapshot implements pool.Driver.
func (p *Pool) DeleteSnapshot(ctx context.Context, name string) error {
	return p.wrap("delete snapshot "+name, p.remove(ctx, snapshotLV(name), snapshotKind))
}
