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
	t, err := a.dm.Table(info.UUID)
	if err != nil {
		return Device{}, err
	}
	dev := Device{
		WWID: wwid, Path: a.dm.Path(info.Name), Major: info.Devno.Major, Minor: info.Devno.Minor,
		SizeBytes: int64(t.Sectors) * 512, //nolint:gosec // the kernel's sizes fit
	}
	dev.Paths, err = a.paths(info.UUID, wwid)
	return dev, err
}

// paths lists the disks in the map, and those of the volume on our sessions that are not in it.
func (a *Attacher) paths(uuid, wwid string) ([]Path, error) {
	states, err := a.dm.PathStates(uuid)
	if err != nil {
		return nil, err
	}
	hosts, err := a.ourHosts()
	if err != nil {
		return nil, err
	}
	disks, err := a.sys.DisksByWWID(wwid)
	if err != nil {
		return nil, err
	}
	var all []Path
	for _, d := range disks {
		s, ours := hosts[d.HCTL.Host]
		state := stateOf(states, devno(d))
		if ours || state != StateMissing {
			all = append(all, describePath(d, s, state))
		}
	}
	sortPaths(all)
	return all, nil
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
