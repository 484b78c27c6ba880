package driver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/fsmount"
)

// host plays one node's devices and mount table. It panics when something is done that no node would survive.
type host struct {
	// luns are the volumes that the target offers, by LUN; attached those that have a device, by WWID.
	luns     map[int]*lun
	attached map[string]*lun
	points   []fsmount.Point
	// nodes are device nodes that the driver has not made, with their minor numbers.
	nodes map[string]uint32
	// fail makes the operation of that name return an error.
	fail map[string]error
	mu   sync.Mutex // for what a timer does
	// log is what was done, in order.
	log []string
	// healed are the specs of the last Heal, vacated those of the last Vacate.
	healed, vacated []attach.Spec
	// lacks are paths that Heal cannot have, and that are not there when Attach returns.
	lacks int
	// portals are those that targets say that they have.
	portals []netip.AddrPort
	// governed are the policies that devices have, by WWID.
	governed map[string]attach.Policy
}

// lun is one volume.
type lun struct {
	wwid  string
	minor uint32
	size  int64
	super *fsmount.Superblock
	paths []attach.Path
	// readOnly and gone are a file system that the kernel gave up, and a device that went away.
	broken error
}

func newHost() *host {
	return &host{
		luns: map[int]*lun{
			1: {wwid: "naa.6001405000000000000000000000001a", minor: 1, size: 1 << 30},
			2: {wwid: "naa.6001405000000000000000000000002b", minor: 2, size: 1 << 30},
		},
		attached: map[string]*lun{}, fail: map[string]error{}, governed: map[string]attach.Policy{},
	}
}

// did logs an operation and returns the error that it is to fail with.
func (h *host) did(op string, args ...any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, strings.TrimSpace(op+" "+fmt.Sprint(args...)))
	return h.fail[op]
}

// count is how often an operation was done.
func (h *host) count(op string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.log {
		if name, _, _ := strings.Cut(l, " "); name == op {
			n++
		}
	}
	return n
}

func (l *lun) device() attach.Device {
	return attach.Device{WWID: l.wwid, Path: "/dev/mapper/" + l.wwid, Major: 253, Minor: l.minor, SizeBytes: l.size, Paths: l.paths}
}

func (h *host) Attach(_ context.Context, s attach.Spec) (attach.Device, error) {
	if err := h.did("attach", s.LUN); err != nil {
		return attach.Device{}, err
	}
	l := h.luns[s.LUN]
	if l == nil {
		return attach.Device{}, attach.ErrTooFewPaths
	}
	if s.WWID != "" && s.WWID != l.wwid {
		return attach.Device{}, attach.ErrWWIDMismatch
	}
	h.attached[l.wwid] = l
	dev := l.device()
	dev.Lacks = h.lacks
	return dev, nil
}

func (h *host) Detach(_ context.Context, wwid string) error {
	if err := h.did("detach", wwid); err != nil {
		return err
	}
	if l := h.attached[wwid]; l != nil && slices.ContainsFunc(h.points, func(p fsmount.Point) bool { return p.Minor == l.minor }) {
		panic("detached below a mount")
	}
	delete(h.attached, wwid)
	return nil
}

func (h *host) Inspect(_ context.Context, wwid string) (attach.Device, error) {
	l := h.attached[wwid]
	if l == nil {
		return attach.Device{}, attach.ErrNotFound
	}
	return l.device(), h.fail["inspect"]
}

func (h *host) InspectAll(ctx context.Context, wwids []string) (map[string]attach.Device, error) {
	all := map[string]attach.Device{}
	for _, wwid := range wwids {
		if dev, err := h.Inspect(ctx, wwid); err == nil {
			all[wwid] = dev
		}
	}
	return all, nil
}

func (h *host) Resize(_ context.Context, wwid string) (attach.Device, error) {
	if err := h.did("resize"); err != nil {
		return attach.Device{}, err
	}
	return h.attached[wwid].device(), nil
}

func (h *host) Heal(_ context.Context, specs []attach.Spec) (int, error) {
	err := h.did("heal")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.healed = specs
	return h.lacks, err
}

// lack has Heal find so many paths lacking from now on.
func (h *host) lack(paths int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lacks = paths
}

func (h *host) Vacate(_ context.Context, specs []attach.Spec) error {
	h.vacated = specs
	return h.did("vacate")
}

func (h *host) Portals(_ context.Context, target string) ([]netip.AddrPort, error) {
	return h.portals, h.did("portals", target)
}

func (h *host) Govern(_ context.Context, wwid string, latest func() (attach.Spec, error)) error {
	if h.attached[wwid] == nil {
		return nil
	}
	s, err := latest()
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.governed[wwid] = s.Policy
	h.mu.Unlock()
	return h.did("govern", wwid)
}

func (h *host) TryGovern(ctx context.Context, wwid string, latest func() (attach.Spec, error)) error {
	return h.Govern(ctx, wwid, latest)
}

func (h *host) VolumeAt(_, minor uint32) (string, bool) {
	for wwid, l := range h.attached {
		if l.minor == minor {
			return wwid, true
		}
	}
	return "", false
}

func (h *host) FailIO(_ context.Context, _ string) error { return h.did("failio") }

// at finds the volume of a device path.
func (h *host) at(path string) *lun {
	l := h.attached[strings.TrimPrefix(path, "/dev/mapper/")]
	if l == nil {
		panic("no device at " + path)
	}
	return l
}

func (h *host) Recognize(device string) ([]fsmount.Superblock, error) {
	return []fsmount.Superblock{*h.at(device).super}, nil
}

func (h *host) Prepare(_ context.Context, p fsmount.Prepare) (fsmount.Superblock, error) {
	l := h.at(p.Device)
	if l.super != nil && l.super.FSType != p.FSType {
		return fsmount.Superblock{}, fsmount.ErrOtherFS
	}
	if l.super != nil {
		return *l.super, nil
	}
	if p.NeverFormat {
		return fsmount.Superblock{}, fsmount.ErrOtherFS
	}
	uuid := fsmount.UUID{1}
	if p.Began == nil {
		if err := p.Begin(uuid); err != nil {
			return fsmount.Superblock{}, err
		}
	} else if *p.Began != uuid {
		panic("another identifier than the recorded one")
	}
	if err := h.did("format", p.FSType); err != nil {
		return fsmount.Superblock{}, err
	}
	l.super = &fsmount.Superblock{FSType: p.FSType, UUID: uuid, SizeBytes: l.size, BlockSize: 4096}
	return *l.super, nil
}

func (h *host) Mount(_ context.Context, m fsmount.Mount) error {
	if err := h.did("mount", m.Target); err != nil {
		return err
	}
	if at, _ := h.At(m.Target); len(at) > 0 {
		panic("stacked mount at " + m.Target)
	}
	p := fsmount.Point{Path: m.Target, Root: "/", Major: 253, Minor: h.at(m.Device).minor, FSType: "ext4", Source: m.Device}
	p.Options, p.Super = []string{"rw"}, []string{"rw"}
	if m.Options.ReadOnly() {
		p.Options, p.Super = []string{"ro"}, []string{"ro"}
	}
	h.points = append(h.points, p)
	return nil
}

func (h *host) Unmount(path string) error {
	if at, _ := h.At(path); len(at) == 0 {
		return nil
	}
	if err := h.did("unmount", path); err != nil {
		return err
	}
	h.points = slices.DeleteFunc(h.points, func(p fsmount.Point) bool { return p.Path == path })
	return nil
}

func (h *host) At(path string) ([]fsmount.Point, error) {
	return slices.DeleteFunc(slices.Clone(h.points), func(p fsmount.Point) bool { return p.Path != path }), nil
}

func (h *host) Broken(p fsmount.Point, _ bool) error {
	for _, l := range h.attached {
		if l.minor == p.Minor {
			return l.broken
		}
	}
	return fsmount.ErrDamaged
}

func (h *host) BindDir(source, target string, o fsmount.Options) error {
	at, _ := h.At(source)
	if len(at) != 1 {
		panic("bind of what is not mounted: " + source)
	}
	p := at[0]
	p.Path, p.Options = target, []string{"rw"}
	if o.ReadOnly() {
		p.Options = []string{"ro"}
	}
	h.points = append(h.points, p)
	return h.did("bind", target)
}

func (h *host) BindDevice(_, target string, _, _ uint32, _ bool) error {
	h.points = append(h.points, fsmount.Point{Path: target, FSType: "devtmpfs", Options: []string{"rw"}})
	return h.did("bind", target)
}

func (h *host) IsDevice(path string, _, minor uint32) bool { return h.nodes[path] == minor }

func (h *host) RemoveTarget(path string) error { return h.Unmount(path) }

func (h *host) Grow(_ context.Context, _, device, _ string) error {
	if err := h.did("grow"); err != nil {
		return err
	}
	l := h.at(device)
	l.super.SizeBytes = l.size
	return nil
}

func (h *host) Usage(string) (fsmount.Usage, error) {
	return fsmount.Usage{TotalBytes: 100, UsedBytes: 40, AvailableBytes: 60}, nil
}

var (
	_ Attacher    = (*host)(nil)
	_ FileSystems = (*host)(nil)
	_ Attacher    = (*attach.Attacher)(nil)
	_ FileSystems = (*fsmount.FS)(nil)
)

// clean fails the test when anything is left over.
func (h *host) clean(t *testing.T) {
	t.Helper()
	if len(h.attached) > 0 || len(h.points) > 0 {
		t.Errorf("left over: devices %v, mounts %v", h.attached, h.points)
	}
}
