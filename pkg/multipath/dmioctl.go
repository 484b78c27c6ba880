package multipath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of include/uapi/linux/dm-ioctl.h.
const (
	cmdDevCreate   = 3
	cmdDevRemove   = 4
	cmdDevSuspend  = 6
	cmdDevStatus   = 7
	cmdTableLoad   = 9
	cmdTableStatus = 12
	cmdListVersion = 13
	cmdTargetMsg   = 14
)

// Flags of struct dm_ioctl.
const (
	flagReadOnly      = 1 << 0
	flagSuspend       = 1 << 1
	flagPersistentDev = 1 << 3
	flagStatusTable   = 1 << 4
	flagActive        = 1 << 5
	flagInactive      = 1 << 6
	flagBufferFull    = 1 << 8
	flagSkipLockFS    = 1 << 10
	flagNoFlush       = 1 << 11
)

// Flags for udev's rules, carried in the upper half of the event number and given back to them as DM_COOKIE
// (libdevmapper.h). Without a semaphore in the lower half nobody waits: that is libdevmapper with udev_sync off.
const (
	udevShift = 16
	// udevNoFallback and udevPrimary are what libmultipath and libdevmapper set on each create: the event is from who
	// changed the device, not from a watch, so the rules act upon it.
	udevNoFallback = 0x0020
	udevPrimary    = 0x0040
	// udevReload: same device, other paths; nothing above it needs to be told (56-dm-mpath.rules).
	udevReload = 0x0100
	// udevNoKpartx: the partitions inside a volume are its user's, not this host's.
	udevNoKpartx = 0x0200
)

const (
	headSize   = 312
	specSize   = 40
	nameLen    = 128
	uuidLen    = 129
	smallReply = 16 << 10
	bigReply   = 16 << 20
	// ioctlBase is _IOWR(0xfd, 0, struct dm_ioctl).
	ioctlBase = 3<<30 | headSize<<16 | 0xfd<<8
)

// head is the part of struct dm_ioctl that is used, decoded.
type head struct {
	flags       uint32
	targetCount uint32
	openCount   int32
	eventNr     uint32
	dev         uint64
	name, uuid  string
}

// target is one line of a table, or of a status.
type target struct {
	start, length uint64
	kind, params  string
}

// encode lays out struct dm_ioctl with payload behind it, in a buffer of at least room bytes.
func encode(h head, payload []byte, room int) []byte {
	size := max(headSize+len(payload), headSize+room)
	words := make([]uint64, (size+7)/8) // aligned as the kernel's struct is
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	ne := binary.NativeEndian
	ne.PutUint32(buf[0:], 4)                 // interface version 4.0.0: understood by every kernel since 2.6
	ne.PutUint32(buf[12:], uint32(len(buf))) //nolint:gosec // bigReply at most
	ne.PutUint32(buf[16:], headSize)
	ne.PutUint32(buf[20:], h.targetCount)
	ne.PutUint32(buf[28:], h.flags)
	ne.PutUint32(buf[32:], h.eventNr)
	ne.PutUint64(buf[40:], h.dev)
	copy(buf[48:48+nameLen-1], h.name)
	copy(buf[176:176+uuidLen-1], h.uuid)
	copy(buf[headSize:], payload)
	return buf
}

func decode(buf []byte) head {
	ne := binary.NativeEndian
	return head{
		targetCount: ne.Uint32(buf[20:]),
		openCount:   int32(ne.Uint32(buf[24:])), //nolint:gosec // as the kernel declares it
		flags:       ne.Uint32(buf[28:]),
		eventNr:     ne.Uint32(buf[32:]),
		dev:         ne.Uint64(buf[40:]),
		name:        cString(buf[48 : 48+nameLen]),
		uuid:        cString(buf[176 : 176+uuidLen]),
	}
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// encodeTable lays out one struct dm_target_spec and its parameters.
func encodeTable(t target) []byte {
	size := (specSize + len(t.params) + 1 + 7) &^ 7
	b := make([]byte, size)
	ne := binary.NativeEndian
	ne.PutUint64(b[0:], t.start)
	ne.PutUint64(b[8:], t.length)
	ne.PutUint32(b[20:], uint32(size)) //nolint:gosec // a few KiB
	copy(b[24:39], t.kind)
	copy(b[specSize:], t.params)
	return b
}

// decodeTable reads the targets behind the header.
func decodeTable(buf []byte, count uint32) ([]target, error) {
	ne := binary.NativeEndian
	start := int(ne.Uint32(buf[16:]))
	var all []target
	for at := start; count > 0; count-- {
		if at < headSize || at+specSize > len(buf) {
			return nil, fmt.Errorf("%w: table beyond its buffer", ErrFormat)
		}
		spec := buf[at:]
		all = append(all, target{
			start: ne.Uint64(spec), length: ne.Uint64(spec[8:]),
			kind: cString(spec[24:40]), params: cString(spec[specSize:]),
		})
		// In answers next counts from the first spec (dm-ioctl.c, retrieve_status).
		at = start + int(ne.Uint32(spec[20:]))
	}
	return all, nil
}

// call does one ioctl on the control node, again with a large buffer when the answer did not fit.
func (d *DM) call(cmd uintptr, h head, payload []byte) (head, []byte, error) {
	f, err := d.open()
	if err != nil {
		return head{}, nil, err
	}
	for _, room := range []int{smallReply, bigReply} {
		buf := encode(h, payload, room)
		if errno := ioctl(f.Fd(), cmd, buf); errno != 0 {
			return head{}, nil, errno
		}
		if got := decode(buf); got.flags&flagBufferFull == 0 {
			return got, buf, nil
		}
	}
	return head{}, nil, fmt.Errorf("%w: more than %d bytes", ErrFormat, bigReply)
}

// open gives the control node, which stays open from its first use on: every step of an attach needs it.
func (d *DM) open() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file != nil {
		return d.file, nil
	}
	f, err := os.OpenFile(d.control, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, ErrNoKernel
	}
	d.file = f
	return f, err
}

func ioctl(fd, cmd uintptr, buf []byte) unix.Errno {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, ioctlBase|cmd, uintptr(unsafe.Pointer(&buf[0])))
		if errno != unix.EINTR {
			return errno
		}
	}
}

// mknum splits the kernel's huge_encode_dev form.
func mknum(dev uint64) Devno {
	return Devno{
		Major: uint32(dev >> 8 & 0xfff),
		Minor: uint32(dev&0xff | dev>>12&0xfff00), //nolint:gosec // masked
	}
}
