package multipath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Devno is a block device's number.
type Devno struct{ Major, Minor uint32 }

// String gives "8:16".
func (n Devno) String() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// Info is what device-mapper says of a map.
type Info struct {
	Name, UUID string
	Devno      Devno
	// Opens counts who holds the device open: mounts and maps above it, programs, udev while it probes.
	Opens int
	// Live says that it has a table; a map between create and its first table has none. Suspended: I/O waits.
	Live, Suspended bool
}

// DM does device-mapper's ioctls. Safe for concurrent use.
type DM struct {
	dev, control string

	mu   sync.Mutex
	file *os.File
}

// NewDM returns the device-mapper whose nodes are under dev, normally "/dev".
func NewDM(dev string) *DM { return &DM{dev: dev, control: filepath.Join(dev, "mapper", "control")} }

func (d *DM) do(op string, cmd uintptr, h head, payload []byte) (head, []byte, error) {
	got, buf, err := d.call(cmd, h, payload)
	if err == nil {
		return got, buf, nil
	}
	on := h.name
	if on == "" {
		on = h.uuid
	}
	return head{}, nil, &Error{Op: op, On: on, Err: typed(cmd, err)}
}

// typed adds to the kernel's error what it means for cmd (dm-ioctl.c).
func typed(cmd uintptr, err error) error {
	switch {
	case errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case cmd == cmdDevCreate && errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w", ErrExists, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %w", ErrOpen, err)
	}
	return err
}

// Find returns the map with this uuid; ErrNotFound when there is none.
func (d *DM) Find(uuid string) (Info, error) {
	h, _, err := d.do("status", cmdDevStatus, head{uuid: uuid}, nil)
	if err != nil {
		return Info{}, err
	}
	return Info{
		Name: h.name, UUID: h.uuid, Devno: mknum(h.dev), Opens: int(h.openCount),
		Live: h.flags&flagActive != 0, Suspended: h.flags&flagSuspend != 0,
	}, nil
}

// create makes a map without a table, which no one can use yet.
func (d *DM) create(name, uuid string) (Devno, error) {
	h, _, err := d.do("create", cmdDevCreate, head{name: name, uuid: uuid}, nil)
	return mknum(h.dev), err
}

// createAt does so under a minor number that the caller chose.
func (d *DM) createAt(name, uuid string, minor uint32) (Devno, error) {
	dev := uint64(minor&0xff | minor&^0xff<<12) // huge_encode_dev; the major is the kernel's
	h, _, err := d.do("create", cmdDevCreate, head{name: name, uuid: uuid, flags: flagPersistentDev, dev: dev}, nil)
	return mknum(h.dev), err
}

// load puts a table into the map's inactive slot; resume makes it live. ErrDeadPath when a path cannot be opened.
func (d *DM) load(uuid string, t Table) error {
	h := head{uuid: uuid, targetCount: 1}
	if t.ReadOnly {
		h.flags |= flagReadOnly
	}
	line := target{length: t.Sectors, kind: targetKind, params: t.params()}
	_, _, err := d.do("load table", cmdTableLoad, h, encodeTable(line))
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	// ENXIO is of the map, or of a path (dm_get_device): sd refuses to be opened while its session is lost.
	if _, found := d.Find(uuid); found != nil {
		return err
	}
	return &Error{Op: "load table", On: uuid, Err: ErrDeadPath}
}

// resume swaps the inactive table in, if any. I/O in flight is requeued, not flushed: a flush would wait for paths.
func (d *DM) resume(uuid string, udevFlags uint32) error {
	h := head{uuid: uuid, flags: flagNoFlush | flagSkipLockFS, eventNr: (udevFlags | udevPrimary | udevNoFallback) << udevShift}
	_, _, err := d.do("resume", cmdDevSuspend, h, nil)
	return err
}

// Remove removes the map; ErrOpen while anything holds it open.
func (d *DM) Remove(uuid string) error {
	h := head{uuid: uuid, eventNr: (udevPrimary | udevNoFallback) << udevShift}
	_, _, err := d.do("remove", cmdDevRemove, h, nil)
	return err
}

// Message sends a message to the map's target ("fail_if_no_path").
func (d *DM) Message(uuid, text string) error {
	payload := append(make([]byte, 8), text...) // sector 0
	_, _, err := d.do("message "+text, cmdTargetMsg, head{uuid: uuid}, append(payload, 0))
	return err
}

// targets gives the live table, or its status, and the map's flags.
func (d *DM) targets(uuid string, flags uint32) ([]target, uint32, error) {
	h, buf, err := d.do("table", cmdTableStatus, head{uuid: uuid, flags: flags | flagNoFlush}, nil)
	if err != nil {
		return nil, 0, err
	}
	ts, err := decodeTable(buf, h.targetCount)
	return ts, h.flags, err
}

// Ready says whether the kernel has dm-multipath: ErrNoKernel when not.
func (d *DM) Ready() error {
	_, buf, err := d.call(cmdListVersion, head{}, nil)
	if err != nil {
		return &Error{Op: "list targets", Err: err}
	}
	if !hasTarget(buf, targetKind) {
		return &Error{Op: "list targets", Err: ErrNoKernel}
	}
	return nil
}

// hasTarget walks the list of struct dm_target_versions: next (4 bytes, from this entry), version (12), name.
func hasTarget(buf []byte, name string) bool {
	for at := headSize; at+16 < len(buf); {
		if cString(buf[at+16:]) == name {
			return true
		}
		next := int(binary.NativeEndian.Uint32(buf[at:]))
		if next <= 0 {
			return false
		}
		at += next
	}
	return false
}

// Hold is an open file of a map: while it is open the map cannot be removed and its number not be reused.
type Hold struct{ f *os.File }

// Release lets go. Safe on nil, and more than once.
func (h *Hold) Release() {
	if h != nil && h.f != nil {
		_ = h.f.Close()
		h.f = nil
	}
}

// Hold opens the map without reading from it, and makes sure that it is that of uuid.
func (d *DM) Hold(info Info) (*Hold, error) {
	hold, err := d.hold(info)
	if err != nil {
		return nil, err
	}
	now, err := d.Find(info.UUID)
	if err == nil && now.Devno != info.Devno {
		err = &Error{Op: "open", On: info.Name, Err: ErrNotFound}
	}
	if err != nil {
		hold.Release()
		return nil, err
	}
	return hold, nil
}

// hold opens the node of the map's number. Whose number it is, is for the caller to see afterwards: from then on it
// cannot change.
func (d *DM) hold(info Info) (*Hold, error) {
	f, err := d.openNode(info.Devno, unix.O_RDONLY)
	if err != nil {
		return nil, &Error{Op: "open", On: info.Name, Err: err}
	}
	return &Hold{f: f}, nil
}

// Claimed says whether a mount, swap or another map has the map for itself, as against programs that merely have it
// open, such as udev's probes: those end by themselves.
func (d *DM) Claimed(info Info) (bool, error) {
	f, err := d.openNode(info.Devno, unix.O_RDONLY|unix.O_EXCL)
	if errors.Is(err, unix.EBUSY) {
		return true, nil
	}
	if err != nil {
		return false, &Error{Op: "open", On: info.Name, Err: err}
	}
	return false, f.Close()
}

// openNode opens the kernel's node of a map and checks that it is the number meant.
func (d *DM) openNode(n Devno, mode int) (*os.File, error) {
	f, err := os.OpenFile(d.node(n), mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFBLK || st.Rdev != unix.Mkdev(n.Major, n.Minor)) {
		err = fmt.Errorf("%w: %s is another device", ErrNotFound, f.Name())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// node is the name that devtmpfs gives: it is there when the create returns, before udev has seen it.
func (d *DM) node(n Devno) string { return filepath.Join(d.dev, fmt.Sprintf("dm-%d", n.Minor)) }
