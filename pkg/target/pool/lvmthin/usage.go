package lvmthin

import (
	"context"
	"fmt"
	"time"

	"github.com/portbind/portbind/pkg/target/pool"
)

// usageAge is how old a reading may be: a burst of requests then asks LVM once.
const usageAge = time.Second

// usage keeps the last reading of a pool's state.
type usage struct {
	gate gate
	at   time.Time
	last status
}

// status reads the pool's state, at most usageAge old.
func (p *Pool) status(ctx context.Context) (status, error) {
	if err := p.usage.gate.lock(ctx); err != nil {
		return status{}, err
	}
	defer p.usage.gate.unlock()
	if p.now().Sub(p.usage.at) < usageAge {
		return p.usage.last, nil
	}
	out, err := p.group.lvm.report(ctx, p.group.lvm.path(p.cfg.ThinPool), poolFields)
	if err != nil {
		return status{}, err
	}
	s, err := parseStatus(out)
	if err != nil {
		return status{}, err
	}
	p.usage.last, p.usage.at = s, p.now()
	return s, nil
}

// Usage implements pool.Driver.
func (p *Pool) Usage(ctx context.Context) (pool.Usage, error) {
	s, err := p.status(ctx)
	if err != nil {
		return pool.Usage{}, p.wrap("read usage", err)
	}
	l, err := p.group.list(ctx)
	if err != nil {
		return pool.Usage{}, p.wrap("read usage", err)
	}
	u := pool.Usage{
		Total: s.size, Free: s.size - int64(float64(s.size)*s.data), Provisioned: l.provisioned(p.cfg.Name),
		MetadataUsed: s.metadata, VGMetadataUsed: s.vgMetadata, MaxVolume: maxVolume,
	}
	switch {
	case p.room(s, l, 0) != nil:
		u.MaxVolume = 0
	case p.cfg.Limits.Overcommit > 0:
		u.MaxVolume = min(maxVolume, max(0, p.overcommit(s)-u.Provisioned)/s.extent*s.extent)
	}
	return u, nil
}

// provisioned sums the virtual sizes of a pool's volumes. Snapshots do not count: they cannot grow.
func (l listing) provisioned(poolName string) int64 {
	var sum int64
	for _, v := range l.of(poolName, volumeKind) {
		sum += max(v.size, v.grow)
	}
	return sum
}

func (p *Pool) overcommit(s status) int64 { return int64(float64(s.size) * p.cfg.Limits.Overcommit) }

// room refuses when the pool is too full to take more virtual bytes, and says what to do.
func (p *Pool) room(s status, l listing, more int64) error {
	lim, vg, name := p.cfg.Limits, p.group.lvm.vg, p.group.lvm.path(p.cfg.ThinPool)
	switch {
	case s.health != "":
		return fmt.Errorf("%w: thin pool %s is in the state %q: see lvs -a %s and lvmthin(7)", pool.ErrExhausted, name, s.health, vg)
	case s.data >= lim.Data:
		return fmt.Errorf("%w: the data of thin pool %s is %.1f %% full, nothing is made from %.0f %% on: extend it (lvextend -L +SIZE %s) "+
			"or delete volumes and snapshots", pool.ErrExhausted, name, 100*s.data, 100*lim.Data, name)
	case s.metadata >= lim.Metadata:
		return fmt.Errorf("%w: the metadata of thin pool %s is %.1f %% full, nothing is made from %.0f %% on: extend it "+
			"(lvextend --poolmetadatasize +SIZE %s) or delete snapshots", pool.ErrExhausted, name, 100*s.metadata, 100*lim.Metadata, name)
	case s.vgMetadata >= maxVGMetadata:
		return fmt.Errorf("%w: the metadata area of volume group %s is %.1f %% full: delete volumes and snapshots; new groups want "+
			"vgcreate --metadatasize 64m", pool.ErrExhausted, vg, 100*s.vgMetadata)
	case lim.Overcommit > 0 && l.provisioned(p.cfg.Name)+more > p.overcommit(s):
		return fmt.Errorf("%w: all volumes of pool %s together would have %d bytes, overcommit %g of its %d bytes allows %d",
			pool.ErrExhausted, p.cfg.Name, l.provisioned(p.cfg.Name)+more, lim.Overcommit, s.size, p.overcommit(s))
	}
	return nil
}
