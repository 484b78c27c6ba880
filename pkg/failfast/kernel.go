package failfast

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// host is the machine.
type host interface {
	// look gives all sessions, and the maps over those of the NICs.
	look(nics []string) (view, error)
	session(id int) (sysfs.Session, error)
	// version is iscsid's.
	version(ctx context.Context) (string, error)
	// isid is what the kernel says of a session's, the zero value when it says nothing.
	isid(session int) (iscsi.ISID, error)
	// end has the target end a session, which it is told over another one. nil is its word that it has done so.
	end(ctx context.Context, session, over sysfs.Session) error
	// setRecovery fails with EBUSY once the session is known to be lost.
	setRecovery(session, seconds int) error
	// cut ends the connection of a session if it is bound to the device, with the errors of tcpcut.
	cut(session, device int) error
	failPath(uuid string, disk multipath.Devno) error
}

// kernel is the real one.
type kernel struct {
	sys    sysfs.FS
	dm     *multipath.DM
	cutter *tcpcut.Cutter
	iscsi  *iscsi.Client
}

func isBusy(err error) bool { return errors.Is(err, unix.EBUSY) }

func (k kernel) session(id int) (sysfs.Session, error) { return k.sys.Session(id) }

func (k kernel) version(ctx context.Context) (string, error) { return k.iscsi.Version(ctx) }

func (k kernel) isid(session int) (iscsi.ISID, error) { return k.sys.ISID(session) }

func (k kernel) setRecovery(session, seconds int) error {
	return k.sys.SetRecoveryTimeout(session, seconds)
}

func (k kernel) failPath(uuid string, disk multipath.Devno) error {
	return k.dm.Message(uuid, "fail_path "+disk.String())
}

func (k kernel) end(ctx context.Context, session, over sysfs.Session) error {
	name, _ := iscsi.InterfaceOf(session.Iface)
	chap, err := k.iscsi.RecordedCHAP(ctx, iscsi.NodeID{Target: session.Target, Portal: session.Persistent, Interface: name})
	if err != nil && !errors.Is(err, iscsi.ErrNoRecord) {
		return err
	}
	return iscsi.Reinstate(ctx, iscsi.Reinstatement{
		Asking: iscsi.Asking{NIC: over.NIC, Portal: over.Portal, Initiator: session.Initiator, Target: session.Target},
		ISID:   iscsi.ISIDOf(session.ID), CHAP: chap,
	})
}

func (k kernel) cut(session, device int) error {
	c, err := k.sys.Connection(session)
	if errors.Is(err, sysfs.ErrGone) {
		return fmt.Errorf("%w: %w", tcpcut.ErrNoSocket, err)
	}
	if err != nil {
		return err
	}
	return k.cutter.Cut(tcpcut.Conn{Local: c.Local, Remote: c.Remote, Device: device})
}

func (k kernel) look(nics []string) (view, error) {
	sessions, err := k.sys.Sessions()
	if err != nil {
		return view{}, err
	}
	v := view{sessions: map[int]sysfs.Session{}}
	byHost := map[int]int{}
	concerned := false
	for _, s := range sessions {
		v.sessions[s.ID], byHost[s.Host] = s, s.ID
		concerned = concerned || (slices.Contains(nics, s.NIC) && ours(s) && s.LoggedIn())
	}
	if concerned {
		v.maps, err = k.maps(v.sessions, byHost, nics)
	}
	return v, err
}

// maps reads those that have a path over one of the NICs.
func (k kernel) maps(sessions map[int]sysfs.Session, byHost map[int]int, nics []string) ([]mapView, error) {
	disks, err := k.sys.Disks()
	if err != nil {
		return nil, err
	}
	paths := map[multipath.Devno]pathView{}
	uuids := map[string]bool{}
	for _, d := range disks {
		id, iscsi := byHost[d.HCTL.Host]
		devno := multipath.Devno{Major: d.Major, Minor: d.Minor}
		paths[devno] = pathView{session: id, iscsi: iscsi}
		if !iscsi || !slices.Contains(nics, sessions[id].NIC) {
			continue
		}
		found, err := k.mapsOver(d.Name)
		if err != nil {
			return nil, err
		}
		for _, uuid := range found {
			uuids[uuid] = true
		}
	}
	var all []mapView
	for uuid := range uuids {
		m, err := k.mapView(uuid, paths)
		if errors.Is(err, multipath.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// mapsOver gives the multipath maps that a disk is a path of.
func (k kernel) mapsOver(disk string) (uuids []string, err error) {
	holders, err := k.sys.Holders(disk)
	if err != nil {
		return nil, err
	}
	for _, h := range holders {
		m, err := k.sys.Map(h)
		if err == nil && strings.HasPrefix(m.UUID, multipath.UUID("")) {
			uuids = append(uuids, m.UUID)
		}
		if err != nil && !errors.Is(err, sysfs.ErrGone) {
			return nil, err
		}
	}
	return uuids, nil
}

func (k kernel) mapView(uuid string, disks map[multipath.Devno]pathView) (mapView, error) {
	states, err := k.dm.PathStates(uuid)
	if err != nil {
		return mapView{}, err
	}
	m := mapView{uuid: uuid}
	for _, s := range states {
		p, known := disks[s.Devno]
		p.devno, p.active = s.Devno, s.Active && known
		m.paths = append(m.paths, p)
	}
	return m, nil
}
