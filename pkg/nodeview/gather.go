package nodeview

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Source is where a node is looked at.
type Source struct {
	Sys       sysfs.FS
	Proc, Dev string
	// StateDir is where the node plugin keeps its records.
	StateDir string
	// Interfaces resolves the node's interfaces to NICs, as they are now.
	Interfaces func() (binding.Resolution, error)
	// Portals are to be reached whatever volumes there are; there may be none.
	Portals []netip.AddrPort
}

// Look takes a snapshot. It reads the kernel's files and asks device-mapper and the routing table; it starts no program,
// sends nothing and changes nothing. With an error the snapshot has what could be read.
func (o Source) Look(ctx context.Context) (Snapshot, error) {
	var s Snapshot
	var errs []error
	for _, part := range []func(*Snapshot) error{o.records, o.sessions, o.disks, o.maps, o.nics} {
		errs = append(errs, part(&s), ctx.Err())
		if ctx.Err() != nil {
			return s, errors.Join(errs...)
		}
	}
	node := compliance.Node{
		Interfaces: func() (binding.Resolution, error) { return s.Interfaces, nil }, Proc: o.Proc,
		Demands: func(context.Context) ([]compliance.Demand, error) { return s.demands(o.Portals), nil },
	}
	var err error
	s.Compliance, err = node.Snapshot(ctx)
	return s, errors.Join(append(errs, err)...)
}

// records reads what the node plugin remembers. A node without any has not staged a volume yet.
func (o Source) records(s *Snapshot) error {
	boot, err := os.ReadFile(filepath.Join(o.Proc, "sys/kernel/random/boot_id"))
	s.BootID = strings.TrimSpace(string(boot))
	all, readErr := staging.Read(o.StateDir)
	if errors.Is(readErr, fs.ErrNotExist) {
		readErr = nil
	}
	slices.SortFunc(all, func(a, b *staging.Record) int { return strings.Compare(a.VolumeID, b.VolumeID) })
	s.Records = all
	return errors.Join(err, readErr)
}

func (o Source) sessions(s *Snapshot) error {
	all, err := o.Sys.Sessions()
	s.Sessions = slices.DeleteFunc(all, func(x sysfs.Session) bool {
		_, ours := iscsi.InterfaceOf(x.Iface)
		return !ours
	})
	return err
}

func (o Source) disks(s *Snapshot) (err error) {
	s.Disks, err = o.Sys.Disks()
	return err
}

// maps reads the maps of dm-multipath. One that is removed meanwhile is left out.
func (o Source) maps(s *Snapshot) error {
	all, err := o.Sys.Maps()
	if err != nil {
		return err
	}
	dm := multipath.NewDM(o.Dev)
	var errs []error
	for _, m := range all {
		if !strings.HasPrefix(m.UUID, multipath.UUID("")) {
			continue
		}
		table, err := dm.Table(m.UUID)
		states, statesErr := dm.PathStates(m.UUID)
		if err = errors.Join(err, statesErr); err != nil {
			if !errors.Is(err, multipath.ErrNotFound) {
				errs = append(errs, err)
			}
			continue
		}
		s.Maps = append(s.Maps, Map{Map: m, Paths: states, Queues: table.Queue})
	}
	return errors.Join(errs...)
}

// nics resolves the interfaces and reads their NICs.
func (o Source) nics(s *Snapshot) error {
	s.NICs = map[string]sysfs.NIC{}
	if o.Interfaces == nil {
		return nil
	}
	r, err := o.Interfaces()
	if err != nil {
		return fmt.Errorf("look at the node's NICs: %w", err)
	}
	s.Interfaces, s.At = r, time.Now()
	var errs []error
	for _, i := range r.Interfaces {
		nic, err := o.Sys.NIC(i.NIC)
		if errors.Is(err, sysfs.ErrGone) {
			continue
		}
		s.NICs[i.NIC] = nic
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
