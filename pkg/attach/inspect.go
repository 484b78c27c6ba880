package attach

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// What Path.State says.
const (
	// StateActive: the map uses the path.
	StateActive = "active"
	// StateFailed: the map avoids the path until it works again.
	StateFailed = "failed"
	// StateMissing: the disk is there but not in the map.
	StateMissing = "missing"
)

// Inspect describes an attached volume: ErrNotFound when it has no map. It changes nothing, asks no disk and waits for
// nobody.
func (a *Attacher) Inspect(ctx context.Context, wwid string) (Device, error) {
	info, err := a.find(wwid)
	if err == nil {
		err = ctx.Err()
	}
	var dev Device
	if err == nil {
		dev, err = a.describe(info, wwid)
	}
	if err != nil {
		return Device{}, &Error{Op: "inspect", WWID: wwid, Err: err}
	}
	return dev, nil
}

// InspectAll describes attached volumes by WWID as Inspect does, but reads what they share only once. Those that cannot be
// described are left out.
func (a *Attacher) InspectAll(ctx context.Context, wwids []string) (map[string]Device, error) {
	hosts, err := a.ourHosts()
	if err != nil {
		return nil, &Error{Op: "inspect", Err: err}
	}
	disks, err := a.sys.Disks()
	if err != nil {
		return nil, &Error{Op: "inspect", Err: err}
	}
	byWWID := map[string][]sysfs.Disk{}
	for _, d := range disks {
		byWWID[d.WWID] = append(byWWID[d.WWID], d)
	}
	all := map[string]Device{}
	for _, wwid := range wwids {
		info, err := a.find(wwid)
		if err != nil {
			continue
		}
		if dev, err := a.describeAs(info, wwid, hosts, byWWID[wwid]); err == nil {
			all[wwid] = dev
		}
	}
	return all, ctx.Err()
}

// find gives the volume's live map.
func (a *Attacher) find(wwid string) (multipath.Info, error) {
	id, err := a.idForDetach(wwid)
	if err != nil {
		return multipath.Info{}, err
	}
	if id == "" {
		return multipath.Info{}, ErrNotFound
	}
	info, err := a.dm.Find(multipath.UUID(id))
	if errors.Is(err, multipath.ErrNotFound) || (err == nil && !info.Live) {
		return multipath.Info{}, ErrNotFound
	}
	return info, err
}

// describe puts together what the kernel knows of a map and of the volume's disks.
func (a *Attacher) describe(info multipath.Info, wwid string) (Device, error) {
	hosts, err := a.ourHosts()
	if err != nil {
		return Device{}, err
	}
	disks, err := a.sys.DisksByWWID(wwid)
	if err != nil {
		return Device{}, err
	}
	return a.describeAs(info, wwid, hosts, disks)
}

// describeAs does so for sessions and disks that were read before.
func (a *Attacher) describeAs(info multipath.Info, wwid string, hosts map[int]sysfs.Session, disks []sysfs.Disk) (Device, error) {
	t, err := a.dm.Table(info.UUID)
	if err != nil {
		return Device{}, err
	}
	dev := Device{
		WWID: wwid, Path: a.dm.Path(info.Name), Major: info.Devno.Major, Minor: info.Devno.Minor,
		SizeBytes: int64(t.Sectors) * 512, //nolint:gosec // the kernel's sizes fit
		Fails:     !t.Queue,
	}
	states, err := a.dm.PathStates(info.UUID)
	if err != nil {
		return Device{}, err
	}
	dev.Paths = paths(states, hosts, disks)
	return dev, nil
}

// paths lists the disks in the map, and those of the volume on our sessions that are not in it.
func paths(states []multipath.PathState, hosts map[int]sysfs.Session, disks []sysfs.Disk) []Path {
	var all []Path
	for _, d := range disks {
		s, ours := hosts[d.HCTL.Host]
		state := stateOf(states, devno(d))
		if ours || state != StateMissing {
			all = append(all, describePath(d, s, state))
		}
	}
	sortPaths(all)
	return all
}

func sortPaths(all []Path) {
	slices.SortFunc(all, func(x, y Path) int {
		return cmp.Or(strings.Compare(x.Interface, y.Interface), x.Portal.Compare(y.Portal), strings.Compare(x.HCTL, y.HCTL))
	})
}

func stateOf(states []multipath.PathState, n multipath.Devno) string {
	for _, s := range states {
		if s.Devno == n && s.Active {
			return StateActive
		}
		if s.Devno == n {
			return StateFailed
		}
	}
	return StateMissing
}

// describePath leaves out what is not known of a disk of somebody else's session.
func describePath(d sysfs.Disk, s sysfs.Session, state string) Path {
	iface, _ := iscsi.InterfaceOf(s.Iface)
	return Path{
		Interface: iface, NIC: s.NIC, Portal: s.Portal, Asked: asked(s), Session: s.ID, HCTL: d.HCTL.String(), Disk: d.Name,
		SessionState: s.State, State: state,
	}
}
