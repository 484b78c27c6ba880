// Package sysfs reads what the kernel says about iSCSI sessions, SCSI disks, device-mapper maps and NICs, and writes
// the few files that change them (scan, delete, rescan, recovery timeout). No program is started. Everything here may
// vanish between two reads: a vanished object is left out of lists, and reading it by name gives ErrGone.
package sysfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FS is where sysfs is mounted; tests use a captured tree.
type FS string

// Default is where Linux mounts it.
const Default FS = "/sys"

// ErrGone says that the object is not there, or vanished while it was read.
var ErrGone = errors.New("gone")

// ErrFormat says that the kernel wrote what this package does not understand.
var ErrFormat = errors.New("unexpected content")

// Error says which operation failed on which file.
type Error struct {
	Op   string
	Path string
	Err  error
}

// Error gives one line.
func (e *Error) Error() string { return "sysfs: " + e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause: ErrGone, ErrFormat, or the system's error.
func (e *Error) Unwrap() error { return e.Err }

// null is what the kernel's printf makes of a parameter that iscsid has not set.
const null = "(null)"

// path joins names below the root.
func (f FS) path(names ...string) string {
	return filepath.Join(append([]string{string(f)}, names...)...)
}

// fail makes an *Error of err; what the kernel answers for a vanished device becomes ErrGone.
func fail(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if cause, ok := errors.AsType[*fs.PathError](err); ok {
		err = cause.Err
	}
	if isGone(err) {
		err = fmt.Errorf("%w (%w)", ErrGone, err)
	}
	return &Error{Op: op, Path: path, Err: err}
}

// isGone says whether an error means that the object vanished. ENODEV and ENXIO are what attributes of a device
// under removal answer; kernfs answers ENOENT before and ENODEV after the removal began.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, ErrGone)
}

// read gives an attribute without its trailing newline.
func (f FS) read(names ...string) (string, error) {
	path := f.path(names...)
	text, err := readAttribute(path)
	return strings.TrimRight(text, "\n"), fail("read", path, err)
}

// readAttribute is os.ReadFile in three system calls instead of eight: an attribute is at most a page and is read whole
// at once (sysfs_kf_seq_show). Attach and heal read hundreds of them.
func readAttribute(path string) (string, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 4096)
	n, err := retry(func() (int, error) { return unix.Read(fd, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// retry repeats a system call that a signal interrupted; the Go runtime sends some for preemption.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// readInt reads a decimal number.
func (f FS) readInt(names ...string) (int64, error) {
	text, err := f.read(names...)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, &Error{Op: "read", Path: f.path(names...), Err: fmt.Errorf("%w: %q is no number", ErrFormat, text)}
	}
	return n, nil
}

// write gives a value to an attribute. It never creates a file.
func (f FS) write(value string, names ...string) error {
	path := f.path(names...)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fail("write", path, err)
	}
	_, err = file.WriteString(value)
	return errors.Join(fail("write", path, err), fail("close", path, file.Close()))
}

// list gives the names in a directory, sorted; none when it is not there.
func (f FS) list(names ...string) ([]string, error) {
	path := f.path(names...)
	dir, err := os.Open(path)
	if err == nil {
		defer func() { _ = dir.Close() }()
		var found []string
		if found, err = dir.Readdirnames(-1); err == nil {
			slices.Sort(found)
			return found, nil
		}
	}
	if isGone(err) {
		return nil, nil
	}
	return nil, fail("list", path, err)
}

// exists says whether there is such a file.
func (f FS) exists(names ...string) bool {
	_, err := os.Lstat(f.path(names...))
	return err == nil
}

// reader reads several attributes of one object and remembers the first failure.
type reader struct {
	fs  FS
	dir string
	err error
}

func (r *reader) text(name string) string {
	if r.err != nil {
		return ""
	}
	var s string
	s, r.err = r.fs.read(r.dir, name)
	return s
}

func (r *reader) number(name string) int64 {
	if r.err != nil {
		return 0
	}
	var n int64
	n, r.err = r.fs.readInt(r.dir, name)
	return n
}

func (r *reader) counter(name string) uint64 {
	text := r.text(name)
	if r.err != nil {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		r.err = &Error{Op: "read", Path: r.fs.path(r.dir, name), Err: fmt.Errorf("%w: %q is no counter", ErrFormat, text)}
	}
	return n
}

// optional reads an attribute that not every kernel has, and for which the kernel answers an error when it has no
// value (EINVAL for a WWID, ENOTCONN for an address).
func (r *reader) optional(name string) string {
	if r.err != nil {
		return ""
	}
	s, err := r.fs.read(r.dir, name)
	if err != nil || s == null {
		return ""
	}
	return s
}
