package fsmount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// BindDir mounts the directory source also at target, which it creates (its parent must exist). Of the options only
// those count that a mount has for itself.
func (f *FS) BindDir(source, target string, o Options) error {
	if err := os.Mkdir(target, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := isKind(target, 0, fs.ModeDir); err != nil {
		return err
	}
	return f.bind(source, target, o)
}

// BindDevice puts the block device at target, a file that it creates (its parent must exist). The node that appears
// there has the numbers given, or it is taken away again. Read-only is the mount, not the device: see docs.
func (f *FS) BindDevice(device, target string, major, minor uint32, readOnly bool) error {
	file, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Close(), isKind(target, fs.ModeType, 0)); err != nil {
		return err
	}
	var o Options
	if readOnly {
		o = o.WithReadOnly()
	}
	if err := f.bind(device, target, o); err != nil {
		return err
	}
	if err := isDevice(target, major, minor); err != nil {
		return errors.Join(err, f.Unmount(target))
	}
	return nil
}

// isKind refuses a target that is not of the kind that the mount needs.
func isKind(path string, forbidden, needed fs.FileMode) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&forbidden != 0 || info.Mode()&needed != needed {
		return fmt.Errorf("%w: %s is there already, as %s", ErrTarget, path, info.Mode())
	}
	return nil
}

// IsDevice says whether the node at path is the block device with these numbers.
func (*FS) IsDevice(path string, major, minor uint32) bool {
	return isDevice(path, major, minor) == nil
}

// isDevice is IsDevice with the reason.
func isDevice(path string, major, minor uint32) error {
	m, n, err := deviceNumber(path)
	if err == nil && (m != major || n != minor) {
		err = fmt.Errorf("%w: %s is device %d:%d and not %d:%d", ErrTarget, path, m, n, major, minor)
	}
	return err
}

// bind is mount --bind, followed by the options, which the kernel ignores at first.
func (f *FS) bind(source, target string, o Options) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", source, target, err)
	}
	if o.Flags&perMount == 0 {
		return nil
	}
	// A remount replaces all flags: keep those that the source's mount has.
	points, err := f.At(target)
	if err == nil && len(points) > 0 {
		flags := o.Flags&perMount | flagsOf(points[len(points)-1].Options)
		err = unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|flags, "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set options of %s: %w", target, err), f.Unmount(target))
	}
	return nil
}

// flagsOf are the flags of a mount's own options.
func flagsOf(options []string) uintptr {
	var flags uintptr
	for _, o := range options {
		flags |= genericOptions[o].set
	}
	return flags & perMount
}

// Covers says whether a bind mount has all options that it should have: a crash between the two steps of bind leaves
// one without them.
func (p Point) Covers(o Options) bool {
	want := o.Flags & perMount
	have := flagsOf(p.Options)
	return have&want == want && o.ReadOnly() == slices.Contains(p.Options, "ro")
}

// RemoveTarget unmounts what BindDir or BindDevice mounted and deletes the directory or file, which must be empty
// by then: data under a mount point is never deleted.
func (f *FS) RemoveTarget(path string) error {
	if err := f.Unmount(path); err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() && info.Size() > 0 {
		return fmt.Errorf("%w: %s is a file with content, left alone", ErrTarget, path)
	}
	return ignoreAbsent(os.Remove(path))
}

// ignoreAbsent makes "does not exist" a success.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
