package fsmount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioAlign is what offsets, lengths and addresses of direct I/O are multiples of; no disk has larger sectors.
const ioAlign = 4096

// openDevice opens a block device for direct I/O: what the page cache remembers of an earlier life of the device
// must not count. Exclusive fails when the device is mounted or another program holds it so. Tests give plain files.
func openDevice(path string, flags int) (*os.File, int64, error) {
	file, err := os.OpenFile(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, 0, fmt.Errorf("%w: %w", ErrInUse, err)
	}
	if err != nil {
		return nil, 0, err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		err = setDirect(file)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, size, nil
}

// setDirect turns direct I/O on for block devices.
func setDirect(file *os.File) error {
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeDevice == 0 {
		return err
	}
	fd := file.Fd()
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(fd, unix.F_SETFL, flags&^unix.O_NONBLOCK|unix.O_DIRECT)
	}
	return err
}

// alignedBuffer is a buffer that direct I/O accepts.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+ioAlign)
	skip := 0
	if over := int(uintptr(unsafe.Pointer(&b[0])) % ioAlign); over != 0 {
		skip = ioAlign - over
	}
	return b[skip : skip+n : skip+n]
}

// directFile reads and writes through an aligned buffer. Offsets and lengths must be multiples of the sector size.
type directFile struct{ *os.File }

// ReadAt implements io.ReaderAt.
func (d directFile) ReadAt(p []byte, off int64) (int, error) {
	b := alignedBuffer(len(p))
	n, err := d.File.ReadAt(b, off)
	return copy(p, b[:n]), err
}

// WriteAt implements io.WriterAt.
func (d directFile) WriteAt(p []byte, off int64) (int, error) {
	b := alignedBuffer(len(p))
	copy(b, p)
	return d.File.WriteAt(b, off)
}

// DeviceSize is the size of a block device in bytes.
func DeviceSize(path string) (int64, error) {
	file, size, err := openDevice(path, os.O_RDONLY)
	if err != nil {
		return 0, opError("size of", path, err)
	}
	return size, file.Close()
}

// readOnlyDevice says whether the kernel lets nobody write to the device (BLKROGET).
func readOnlyDevice(path string) (bool, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	ro, err := unix.IoctlGetInt(int(file.Fd()), unix.BLKROGET)
	return ro != 0, errors.Join(err, file.Close())
}
