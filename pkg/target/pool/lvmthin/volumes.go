package lvmthin

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/portbind/portbind/pkg/target/pool"
)

// CreateVolume implements pool.Driver.
func (p *Pool) CreateVolume(ctx context.Context, req pool.Create) (pool.Volume, error) {
	v, err := retried(func() (lv, error) { return p.createVolume(ctx, req) })
	if err != nil {
		return pool.Volume{}, p.wrap("create volume "+req.Name, err)
	}
	return v.volume(), nil
}

func (p *Pool) createVolume(ctx context.Context, req pool.Create) (lv, error) {
	name := volumeLV(req.Name)
	if err := checkName(p.group.lvm.vg, name); err != nil {
		return lv{}, err
	}
	l, unlock, err := p.begin(ctx)
	if err != nil {
		return lv{}, err
	}
	defer unlock()
	if v, ok := l.find(p.cfg.Name, name, volumeKind); ok {
		return p.existing(ctx, v, req)
	}
	if by := l.taken(p.cfg.Name, name); by != "" {
		return lv{}, fmt.Errorf("%w: the name is taken by %s", pool.ErrExists, by)
	}
	return p.newVolume(ctx, l, req)
}

// existing finishes what a crash left half-way, and says whether the volume is what was asked for.
func (p *Pool) existing(ctx context.Context, v lv, req pool.Create) (lv, error) {
	if v.source != req.Source {
		return lv{}, fmt.Errorf("%w: it was made from %s", pool.ErrExists, describe(v.source))
	}
	v, err := p.finish(ctx, v)
	if err != nil {
		return lv{}, err
	}
	if !fits(v.size, req.Required, req.Limit) {
		return lv{}, fmt.Errorf("%w: it has %d bytes", pool.ErrExists, v.size)
	}
	return p.attribute(ctx, v, req.Attributes)
}

func describe(s pool.Source) string {
	if s.Kind == pool.Empty {
		return "nothing"
	}
	return fmt.Sprintf("%s %s", s.Kind, s.Name)
}

func (p *Pool) newVolume(ctx context.Context, l listing, req pool.Create) (lv, error) {
	origin, err := p.origin(l, req.Source)
	if err != nil {
		return lv{}, err
	}
	s, err := p.status(ctx)
	if err != nil {
		return lv{}, err
	}
	size, err := wanted{
		required: req.Required, limit: req.Limit, least: origin.size,
		whenUnset: max(origin.size, defaultSize(origin)), extent: s.extent,
	}.size()
	if err != nil {
		return lv{}, err
	}
	if err := p.room(s, l, size); err != nil {
		return lv{}, err
	}
	v := lv{
		lv: volumeLV(req.Name), kind: volumeKind, pool: p.cfg.Name, name: req.Name, size: size,
		serial: req.Serial, source: req.Source, created: p.now(), attributes: maps.Clone(req.Attributes),
	}
	if origin.lv == "" {
		err := p.group.lvm.createThin(ctx, v, p.cfg.ThinPool, size)
		return v, p.group.noted(err, v.lv, &v)
	}
	return p.clone(ctx, v, origin)
}

func defaultSize(origin lv) int64 {
	if origin.lv != "" {
		return 0
	}
	return pool.DefaultVolumeBytes
}

// origin finds the LV that a new volume is made from; the zero lv for none.
func (p *Pool) origin(l listing, src pool.Source) (lv, error) {
	var v lv
	var ok bool
	switch src.Kind {
	case pool.Empty:
		return lv{}, nil
	case pool.FromVolume:
		v, ok = l.find(p.cfg.Name, volumeLV(src.Name), volumeKind)
	case pool.FromSnapshot:
		v, ok = l.find(p.cfg.Name, snapshotLV(src.Name), snapshotKind)
	}
	if !ok || v.grow > 0 {
		return lv{}, fmt.Errorf("%w: source %s", pool.ErrNotFound, describe(src))
	}
	return v, nil
}

// clone makes a thin copy. A larger one takes three steps: the tag says until the last that it is not finished.
func (p *Pool) clone(ctx context.Context, v, origin lv) (lv, error) {
	if v.size > origin.size {
		v.grow, v.size = v.size, origin.size
	}
	err := p.group.lvm.createFrom(ctx, v, origin.lv)
	if err := p.group.noted(err, v.lv, &v); err != nil {
		return lv{}, err
	}
	return p.finish(ctx, v)
}

// finish does the rest for a clone that still has to grow.
func (p *Pool) finish(ctx context.Context, v lv) (lv, error) {
	if v.grow == 0 {
		return v, nil
	}
	tag := growTag(v.grow)
	if v.size < v.grow {
		v.size = v.grow
		err := p.group.lvm.extend(ctx, v.lv, v.size)
		if err := p.group.noted(err, v.lv, &v); err != nil {
			return lv{}, err
		}
	}
	v.grow = 0
	err := p.group.lvm.lvchange(ctx, v.lv, "--deltag", tag)
	return v, p.group.noted(err, v.lv, &v)
}

// DeleteVolume implements pool.Driver.
func (p *Pool) DeleteVolume(ctx context.Context, name string) error {
	return p.wrap("delete volume "+name, p.remove(ctx, volumeLV(name), volumeKind))
}

func (p *Pool) remove(ctx context.Context, lvName string, k kind) error {
	l, unlock, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := l.find(p.cfg.Name, lvName, k); !ok {
		return nil
	}
	err = p.group.lvm.remove(ctx, lvName)
	if errors.Is(err, pool.ErrNotFound) {
		p.group.forget()
		return nil
	}
	return p.group.noted(err, lvName, nil)
}

// ExpandVolume implements pool.Driver.
func (p *Pool) ExpandVolume(ctx context.Context, name string, required, limit int64) (pool.Volume, error) {
	v, err := retried(func() (lv, error) {
		return p.change(ctx, name, func(l listing, v lv) (lv, error) { return p.expand(ctx, l, v, required, limit) })
	})
	if err != nil {
		return pool.Volume{}, p.wrap("expand volume "+name, err)
	}
	return v.volume(), nil
}

// change has a volume changed under the group's lock: pool.ErrNotFound when there is none, or not as a whole yet.
func (p *Pool) change(ctx context.Context, name string, change func(l listing, v lv) (lv, error)) (lv, error) {
	l, unlock, err := p.begin(ctx)
	if err != nil {
		return lv{}, err
	}
	defer unlock()
	v, ok := l.find(p.cfg.Name, volumeLV(name), volumeKind)
	if !ok || v.grow > 0 {
		return lv{}, pool.ErrNotFound
	}
	return change(l, v)
}

// expand makes a volume larger. The caller holds the group's lock.
func (p *Pool) expand(ctx context.Context, l listing, v lv, required, limit int64) (lv, error) {
	if required <= v.size {
		if limit > 0 && v.size > limit {
			return lv{}, fmt.Errorf("%w: it has %d bytes already, limit_bytes is %d", pool.ErrOutOfRange, v.size, limit)
		}
		return v, nil
	}
	s, err := p.status(ctx)
	if err != nil {
		return lv{}, err
	}
	size, err := wanted{required: required, limit: limit, extent: s.extent}.size()
	if err != nil {
		return lv{}, err
	}
	if err := p.room(s, l, size-v.size); err != nil {
		return lv{}, err
	}
	v.size = size
	err = p.group.lvm.extend(ctx, v.lv, size)
	return v, p.group.noted(err, v.lv, &v)
}
