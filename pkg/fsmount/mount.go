package fsmount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is the request of FS.Mount.
type Mount struct {
	Device, Target string
	// Super is what Prepare said of the device.
	Super   Superblock
	Options Options
	// WWID of the device: the identifier of a btrfs clone is made of it.
	WWID string
}

// Mount mounts a device at an existing directory. What the kernel has noted as damaged is repaired first when the
// checker can do so by itself. A btrfs that is a clone of another one that is mounted gets an identifier of its own.
func (f *FS) Mount(ctx context.Context, m Mount) error {
	data, err := m.data()
	if err != nil {
		return opError("mount", m.Device, err)
	}
	if !m.Options.ReadOnly() {
		if err := f.check(ctx, m.Device, m.Super); err != nil {
			return err
		}
	}
	err = m.mount(data)
	if errors.Is(err, unix.EEXIST) && m.Super.FSType == Btrfs {
		err = m.mountClone(ctx, data)
	}
	return m.explain(err)
}

// mountClone mounts a btrfs that the kernel takes for another device's.
func (m Mount) mountClone(ctx context.Context, data []string) error {
	ro, err := readOnlyDevice(m.Device)
	switch {
	case err != nil:
		return err
	case ro:
		return fmt.Errorf("%w: this node's kernel knows the btrfs %s from another device, of which this one, write-protected, is a copy: "+
			"as long as that is mounted, use them on different nodes; afterwards run `btrfs device scan --forget`", ErrInUse, m.Super.UUID)
	}
	if err := m.separate(ctx); err != nil {
		return opError("give the clone of a btrfs an identifier of its own:", m.Device, err)
	}
	return m.mount(data)
}

// data are the options for the file system: what a volume needs by default, then the user's.
func (m Mount) data() ([]string, error) {
	var data []string
	switch m.Super.FSType {
	case Ext4:
		// The kernel's default is what the superblock says: "continue", writing on over an inconsistency.
		if !m.Options.has("errors") {
			data = append(data, "errors=remount-ro")
		}
	case XFS:
		// A clone has its source's UUID. Mounting one file system twice by two paths is what the check is for;
		// here the device's identity is known.
		data = append(data, "nouuid")
	}
	if m.Options.ReadOnly() {
		ro, err := readOnlyDevice(m.Device)
		if err != nil {
			return nil, err
		}
		if ro {
			// Replaying the log would be a write.
			data = append(data, map[string]string{Ext4: "noload", XFS: "norecovery", Btrfs: "rescue=nologreplay"}[m.Super.FSType])
		}
	}
	return append(data, m.Options.Data...), nil
}

// mount is the system call.
func (m Mount) mount(data []string) error {
	return unix.Mount(m.Device, m.Target, m.Super.FSType, m.Options.Flags, strings.Join(data, ","))
}

// separate makes a clone of a mounted btrfs mountable beside it.
func (m Mount) separate(ctx context.Context) error {
	fsid := cloneFsid(m.WWID)
	if m.Super.UUID == fsid {
		return fmt.Errorf("%w: the file system %s is mounted from another device", ErrInUse, fsid)
	}
	file, size, err := openDevice(m.Device, os.O_RDWR|unix.O_EXCL)
	if err != nil {
		return err
	}
	return errors.Join(setBtrfsFsid(directFile{file}, size, fsid), release(ctx, file))
}

// explain says what mount(2)'s errors mean.
func (m Mount) explain(err error) error {
	if err == nil {
		return nil
	}
	op := fmt.Errorf("mount %s (%s) at %s with %q: %w", m.Device, m.Super.FSType, m.Target, m.Options.Data, err)
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: this kernel has no %s: load or install its module (modprobe %s): %w", ErrUnsupported,
			m.Super.FSType, m.Super.FSType, op)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", ErrInUse, op)
	case errors.Is(err, unix.EINVAL) && len(m.Options.Data) > 0:
		return fmt.Errorf("%w, or the kernel cannot use this file system (dmesg says which): %w", ErrOption, op)
	case errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w or write-protected (dmesg says more): %w", ErrDamaged, op)
	default:
		return op
	}
}

// Unmount takes away all that is mounted at path, one by one when mounts are stacked. Nothing there, or no such
// path, is success. It waits until a last unmount has written everything.
func (f *FS) Unmount(path string) error {
	for {
		points, err := f.At(path)
		if err != nil || len(points) == 0 {
			return err
		}
		err = unix.Unmount(realPath(path), unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w: %w", path, ErrInUse, err)
		}
		// EINVAL: somebody else was faster, and nothing is mounted there any more.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return opError("unmount", path, err)
		}
	}
}
