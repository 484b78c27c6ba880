package lvmthin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/target/pool"
)

// Device implements pool.Driver.
func (p *Pool) Device(name string) string { return "/dev/" + p.group.lvm.path(volumeLV(name)) }

// Active implements pool.Driver.
func (p *Pool) Active(name string) (bool, error) {
	_, err := os.Stat(p.Device(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Activate implements pool.Driver. Calls for single volumes share a command.
func (p *Pool) Activate(ctx context.Context, names ...string) error {
	if len(names) == 1 {
		return p.wrap("activate "+names[0], p.on.do(ctx, p.group.change, names[0]))
	}
	if len(names) == 0 {
		return nil
	}
	if err := p.group.change.lock(ctx); err != nil {
		return p.wrap("activate volumes", err)
	}
	defer p.group.change.unlock()
	return p.wrap("activate "+strings.Join(names, ", "), p.activate(ctx, names))
}

// activate needs the group's lock.
func (p *Pool) activate(ctx context.Context, names []string) error {
	l, err := p.group.list(ctx)
	if err != nil {
		return err
	}
	var lvs []string
	var missing error
	for _, name := range names {
		if v, ok := l.find(p.cfg.Name, volumeLV(name), volumeKind); ok && v.grow == 0 {
			lvs = append(lvs, v.lv)
		} else {
			missing = fmt.Errorf("%w: volume %s", pool.ErrNotFound, name)
		}
	}
	if len(lvs) == 0 {
		return missing
	}
	if err := p.group.lvm.activate(ctx, lvs); err != nil {
		p.group.forget()
		return err
	}
	return missing
}

// Deactivate implements pool.Driver. Calls share a command.
func (p *Pool) Deactivate(ctx context.Context, name string) error {
	return p.wrap("deactivate volume "+name, p.off.do(ctx, p.group.change, name))
}

// deactivate needs the group's lock.
func (p *Pool) deactivate(ctx context.Context, names []string) error {
	l, err := p.group.list(ctx)
	if err != nil {
		return err
	}
	var lvs []string
	for _, name := range names {
		if v, ok := l.find(p.cfg.Name, volumeLV(name), volumeKind); ok {
			lvs = append(lvs, v.lv)
		}
	}
	if len(lvs) == 0 {
		return nil
	}
	err = p.group.lvm.deactivate(ctx, lvs)
	if errors.Is(err, pool.ErrNotFound) {
		p.group.forget()
		if len(lvs) == 1 {
			return nil
		}
	}
	return err
}

// Recover implements pool.Driver: it activates the thin pool, resumes devices that a killed LVM command left
// suspended, and finishes clones.
func (p *Pool) Recover(ctx context.Context) error {
	l, unlock, err := p.begin(ctx)
	if err != nil {
		return p.wrap("recover", err)
	}
	defer unlock()
	s, err := p.status(ctx)
	if err != nil {
		return p.wrap("recover", err)
	}
	if err := p.suitable(s); err != nil {
		return p.wrap("recover", err)
	}
	if !s.active {
		if err := p.group.lvm.lvchange(ctx, p.cfg.ThinPool, "-ay"); err != nil {
			return p.wrap("activate the thin pool", err)
		}
		p.usage.at = time.Time{}
	}
	if err := p.resume(ctx, l); err != nil {
		return p.wrap("recover", err)
	}
	for _, v := range l.of(p.cfg.Name, volumeKind) {
		if _, err := p.finish(ctx, v); err != nil {
			// A full pool must not keep the rest from being served; the next CreateVolume tries again.
			klog.FromContext(ctx).Error(err, "A clone cannot be finished", "pool", p.cfg.Name, "volume", v.name)
		}
	}
	return nil
}

// suitable refuses a pool that would show one volume's old data to another.
func (p *Pool) suitable(s status) error {
	if !s.zeroing {
		name := p.group.lvm.path(p.cfg.ThinPool)
		return fmt.Errorf("%w: thin pool %s does not zero new blocks, so a volume could read what another one had written: lvchange --zero y %s",
			pool.ErrInvalid, name, name)
	}
	return nil
}

// resume looks for suspended devices among ours. One that stays suspended hangs every writer.
func (p *Pool) resume(ctx context.Context, l listing) error {
	out, err := p.group.lvm.report(ctx, p.group.lvm.vg, "lv_name,lv_suspended")
	if err != nil {
		return err
	}
	rows, err := parseReport(out)
	if err != nil {
		return err
	}
	for _, row := range rows {
		v, mine := l.ours[row["lv_name"]]
		mine = mine && v.pool == p.cfg.Name
		if row["lv_suspended"] != "suspended" || !mine && row["lv_name"] != p.cfg.ThinPool {
			continue
		}
		klog.FromContext(ctx).Info("Resuming a device that was left suspended", "vg", p.group.lvm.vg, "lv", row["lv_name"])
		if err := p.group.lvm.lvchange(ctx, row["lv_name"], "--refresh"); err != nil {
			return err
		}
	}
	return nil
}

// Check says whether the pool can be used, and changes nothing.
func (p *Pool) Check(ctx context.Context) error {
	s, err := p.status(ctx)
	if err == nil {
		err = p.suitable(s)
	}
	if err == nil {
		err = p.room(s, listing{}, 0)
	}
	return p.wrap("check", err)
}
