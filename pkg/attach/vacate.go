package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Paths leave in order when their session is not to carry a volume any more: its interface is drained or not configured now, the
// session is on another NIC than the interface has, or its portal is not among the target's. What the volume can have elsewhere
// is there before (Heal), enough of that works, then the paths leave the map (takeout.go), their disks go, and the session when it
// has none (closing.go). Each step looks at the kernel: after a crash the next call goes on.

// ErrStays is an interface that carries I/O still though it should not, for now: Vacate is to be called again soon.
var ErrStays = errors.New("cannot leave yet")

// StaysError says why a volume's paths over some interfaces stay. It is ErrStays.
type StaysError struct {
	WWID       string
	Interfaces []string
	// Have other paths work, of Want.
	Have, Want int
}

// Error gives one line.
func (e *StaysError) Error() string {
	return fmt.Sprintf("%s of %s %v: %d other paths work, wanted are %d", strings.Join(e.Interfaces, ", "), e.WWID, ErrStays, e.Have, e.Want)
}

// Unwrap gives ErrStays.
func (e *StaysError) Unwrap() error { return ErrStays }

// misplaced says that a session is bound to another NIC than its interface has now: the NIC was replaced or renamed.
func misplaced(s sysfs.Session, res binding.Resolution) bool {
	name, _ := iscsi.InterfaceOf(s.Iface)
	i, there := res.Find(name)
	return there && s.NIC != "" && s.NIC != i.NIC
}

// retired says that a session is to carry no volume at all. One of an interface that has merely no NIC at the moment is not: that
// may come back.
func retired(s sysfs.Session, res binding.Resolution) bool {
	name, _ := iscsi.InterfaceOf(s.Iface)
	return notUsed(name, res)
}

// notUsed says that an interface is to carry nothing.
func notUsed(name string, res binding.Resolution) bool {
	return res.IsDrained(name) || !res.Names(name)
}

// unwanted says that a session is not to carry this volume.
func unwanted(s sysfs.Session, spec Spec, res binding.Resolution) bool {
	name, _ := iscsi.InterfaceOf(s.Iface)
	return retired(s, res) || misplaced(s, res) || (len(spec.Interfaces) > 0 && !slices.Contains(spec.Interfaces, name)) ||
		(len(spec.Portals) > 0 && s.Target == spec.Target && !slices.Contains(spec.Portals, asked(s)))
}

// exodus is one go at having paths leave.
type exodus struct {
	res   binding.Resolution
	specs map[string]Spec // by WWID
	hosts map[int]sysfs.Session
	// spared sessions stay though they are on the wrong NIC: a volume over them has too few other paths, and as long as one stays,
	// the session cannot be made anew for any.
	spared map[int]bool
	// silent sessions do not reach their portal (listen.go); it is looked when it is first asked for.
	silent func() map[int]bool
}

// Vacate has paths leave that should not be there, and closes the sessions that are to carry nothing any more. Specs are all attached
// volumes, healed before; of one that nobody told of, such as one that is being staged, one path must be left. ErrStays while it
// is not done: the errors of all are joined.
func (a *Attacher) Vacate(ctx context.Context, specs []Spec) error {
	x := &exodus{specs: map[string]Spec{}, spared: map[int]bool{}}
	for _, s := range specs {
		x.specs[s.WWID] = s
	}
	var err error
	if x.res, err = a.cfg.Interfaces(); err != nil {
		return err
	}
	if err := a.forgetNeedless(ctx, specs, x.res); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Records of open-iscsi that nothing needs are left")
	}
	if x.hosts, err = a.ourHosts(); err != nil || len(x.hosts) == 0 {
		return err
	}
	disks, err := a.sys.Disks()
	if err != nil {
		return err
	}
	leaving := map[string][]sysfs.Disk{}
	for _, d := range disks {
		if x.leaves(d) {
			leaving[d.WWID] = append(leaving[d.WWID], d)
		}
	}
	x.silent = sync.OnceValue(func() map[int]bool { return a.silent(ctx, x) })
	errs := a.spare(x, leaving)
	errs = append(errs, inParallel(slices.Sorted(maps.Keys(leaving)), func(wwid string) error {
		return a.vacateVolume(ctx, x, wwid)
	})...)
	return errors.Join(append(errs, a.closeRetired(ctx, x.hosts))...)
}

// forgetNeedless removes the records that nothing needs any more.
func (a *Attacher) forgetNeedless(ctx context.Context, specs []Spec, res binding.Resolution) error {
	nodes, err := a.records.list(ctx)
	if err != nil {
		return err
	}
	return errors.Join(a.forgetLeftovers(ctx, nodes, specs), a.forgetRetired(ctx, nodes, res))
}

// spec of a volume that nobody told of asks for one path.
func (x *exodus) spec(wwid string, s sysfs.Session) Spec {
	if spec, known := x.specs[wwid]; known {
		return spec
	}
	return Spec{WWID: wwid, Target: s.Target}
}

func (x *exodus) leaves(d sysfs.Disk) bool {
	s, ours := x.hosts[d.HCTL.Host]
	return ours && d.WWID != "" && !x.spared[s.ID] && unwanted(s, x.spec(d.WWID, s), x.res)
}

// spare finds the misplaced sessions that have to stay for now, and says why. Of several interfaces on wrong NICs, such as two that have
// exchanged theirs, one moves at a time, and the others carry the I/O meanwhile.
func (a *Attacher) spare(x *exodus, leaving map[string][]sysfs.Disk) []error {
	var errs []error
	moving := ""
	for _, name := range x.moving(leaving) {
		if moving != "" {
			x.keep(name)
			errs = append(errs, fmt.Errorf("%s is on the wrong NIC, as is %s, which goes first: %w", name, moving, ErrStays))
			continue
		}
		stay, needed := a.spareFor(x, name, leaving)
		if errs = append(errs, needed...); !stay {
			moving = name
		}
	}
	return errs
}

// spareFor spares an interface's misplaced sessions for the sake of volumes that would have too few other paths, and says of which;
// all, when it spares every one.
func (a *Attacher) spareFor(x *exodus, name string, leaving map[string][]sysfs.Disk) (all bool, errs []error) {
	all = true
	for _, wwid := range slices.Sorted(maps.Keys(leaving)) {
		// Those of other interfaces do not leave together with these.
		disks := slices.DeleteFunc(slices.Clone(leaving[wwid]), func(d sysfs.Disk) bool {
			other := x.moves(d)
			return other != "" && other != name
		})
		mine := slices.DeleteFunc(slices.Clone(disks), func(d sysfs.Disk) bool { return x.moves(d) == "" })
		info, err := a.find(wwid)
		if err != nil || len(mine) == 0 {
			continue
		}
		err = a.enough(x, info, disks, nil)
		if all = all && err != nil; err == nil {
			continue
		}
		errs = append(errs, err)
		for _, d := range mine {
			x.spared[x.hosts[d.HCTL.Host].ID] = true
		}
	}
	return all, errs
}

// moves gives the interface of a disk whose session is to be made anew on another NIC.
func (x *exodus) moves(d sysfs.Disk) string {
	s := x.hosts[d.HCTL.Host]
	if !misplaced(s, x.res) || retired(s, x.res) {
		return ""
	}
	name, _ := iscsi.InterfaceOf(s.Iface)
	return name
}

// moving lists the interfaces of all such disks.
func (x *exodus) moving(leaving map[string][]sysfs.Disk) []string {
	names := map[string]bool{}
	for _, disks := range leaving {
		for _, d := range disks {
			if name := x.moves(d); name != "" {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// keep spares all sessions of an interface.
func (x *exodus) keep(name string) {
	for _, s := range x.hosts {
		if s.Iface == iscsi.IfaceName(name) {
			x.spared[s.ID] = true
		}
	}
}

// vacateVolume takes one volume's paths away, unless another call works on it.
func (a *Attacher) vacateVolume(ctx context.Context, x *exodus, wwid string) error {
	unlock, ok := a.volumes.TryLock(wwid)
	if !ok {
		return fmt.Errorf("%s: another call works on it: %w", wwid, ErrStays)
	}
	defer unlock()
	all, err := a.sys.DisksByWWID(wwid)
	if err != nil {
		return err
	}
	disks := slices.DeleteFunc(all, func(d sysfs.Disk) bool { return !x.leaves(d) })
	if len(disks) == 0 {
		return nil
	}
	info, err := a.find(wwid)
	if err == nil {
		err = a.takeOut(ctx, x, info, disks)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := a.unheld(disks); err != nil {
		return err
	}
	if err := a.forget(ctx, disks); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Paths have left a volume", "wwid", wwid, "interfaces", x.names(disks), "paths", len(disks))
	if slices.ContainsFunc(disks, func(d sysfs.Disk) bool { return misplaced(x.hosts[d.HCTL.Host], x.res) }) {
		return fmt.Errorf("%s: to be logged in anew: %w", wwid, ErrStays)
	}
	return nil
}

// unheld refuses disks that something is built on.
func (a *Attacher) unheld(disks []sysfs.Disk) error {
	for _, d := range disks {
		holders, err := a.sys.Holders(d.Name)
		if err != nil && !errors.Is(err, sysfs.ErrGone) {
			return err
		}
		if len(holders) > 0 {
			return fmt.Errorf("%s has %s on it: %w", d.Name, strings.Join(holders, ", "), ErrStays)
		}
		if claimed(filepath.Join(a.cfg.Dev, d.Name)) {
			return fmt.Errorf("%s is in use: %w", d.Name, ErrStays)
		}
	}
	return nil
}

// names are the interfaces of the disks.
func (x *exodus) names(disks []sysfs.Disk) []string {
	var names []string
	for _, d := range disks {
		if name, _ := iscsi.InterfaceOf(x.hosts[d.HCTL.Host].Iface); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
