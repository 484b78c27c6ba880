// Package scsi asks a disk a question past everything that is above it: no map, no cache, no retry.
package scsi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrGone is that the target has no such logical unit for us (any more).
var ErrGone = errors.New("logical unit not supported")

// What SG_IO needs (include/scsi/sg.h).
const (
	sgIO     = 0x2285
	sgNoData = -1
	sgRead   = -3
	senseMax = 64
	patience = 5000 // ms

	opTestUnitReady = 0x00
)

// sgHeader is struct sg_io_hdr on 64-bit machines.
type sgHeader struct {
	interfaceID    int32
	direction      int32
	cmdLen, sbLen  uint8
	iovecCount     uint16
	dataLen        uint32
	data, cmd, sbp unsafe.Pointer
	timeout        uint32 // in ms
	flags          uint32
	packID         int32
	_              int32
	usrPtr         unsafe.Pointer
	status         uint8
	masked, msg    uint8
	sbWritten      uint8
	host, driver   uint16
	resid          int32
	duration       uint32
	info           uint32
}

// Device is a disk: its node, and the number that the node must have, or it is another one's by now.
type Device struct {
	Path         string
	Major, Minor uint32
}

// TestUnitReady asks whether the disk's logical unit is there: ErrGone when the target says that it is not. Any other error
// means that nothing could be learned; a unit attention is an answer and none. It waits no longer than ctx.
func TestUnitReady(ctx context.Context, d Device) error {
	answer := make(chan error, 1)
	// The kernel holds the caller back while the session recovers, whatever the timeout says.
	go func() { answer <- testUnitReady(d) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func testUnitReady(d Device) error {
	f, err := d.open()
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	sense, status, err := send(f, []byte{opTestUnitReady, 0, 0, 0, 0, 0}, nil)
	if err != nil {
		return fmt.Errorf("TEST UNIT READY of %s: %w", d.Path, err)
	}
	return judge(status, sense)
}

func (d Device) open() (*os.File, error) {
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := d.check(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (d Device) check(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK || st.Rdev != unix.Mkdev(d.Major, d.Minor) {
		return fmt.Errorf("%s is not disk %d:%d any more", d.Path, d.Major, d.Minor)
	}
	return nil
}

// send gives the sense data and the SCSI status, and fills data, if there is any, with what the logical unit sends. An error
// means that there was no answer from it.
func send(f *os.File, cmd, data []byte) (sense []byte, status uint8, err error) {
	sense = make([]byte, senseMax)
	h := sgHeader{
		interfaceID: 'S', direction: sgNoData, cmdLen: uint8(len(cmd)), sbLen: senseMax, //nolint:gosec // at most 16
		cmd: unsafe.Pointer(&cmd[0]), sbp: unsafe.Pointer(&sense[0]),
		timeout: patience,
	}
	if len(data) > 0 {
		h.direction, h.dataLen, h.data = sgRead, uint32(len(data)), unsafe.Pointer(&data[0]) //nolint:gosec // some hundred
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), sgIO, uintptr(unsafe.Pointer(&h)))
	if errno != 0 {
		return nil, 0, errno
	}
	if h.host != 0 {
		return nil, 0, fmt.Errorf("no answer: host status 0x%02x", h.host)
	}
	return sense[:h.sbWritten], h.status, nil
}
