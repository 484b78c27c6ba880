package fsmount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	mount "k8s.io/mount-utils"
)

// Usage is the state of a file system. Inodes are 0 where it has no fixed number (btrfs).
type Usage struct {
	TotalBytes, UsedBytes, AvailableBytes    int64
	TotalInodes, UsedInodes, AvailableInodes int64
}

// Usage measures the file system at path.
func (f *FS) Usage(path string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Usage{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	unit := st.Frsize
	return Usage{
		TotalBytes: bytes64(st.Blocks, unit), AvailableBytes: bytes64(st.Bavail, unit),
		UsedBytes:   bytes64(st.Blocks-min(st.Bfree, st.Blocks), unit),
		TotalInodes: bytes64(st.Files, 1), AvailableInodes: bytes64(st.Ffree, 1),
		UsedInodes: bytes64(st.Files-min(st.Ffree, st.Files), 1),
	}, nil
}

// bytes64 is a count in units; the kernel's counters fit since sizes of files do.
func bytes64(n uint64, unit int64) int64 { return int64(n) * unit } //nolint:gosec // see above

// Broken says why the file system at p cannot be used any more, nil when it can: its device is gone, it shut itself
// down, or it went read-only after an error (readOnly says that it should be).
func (f *FS) Broken(p Point, readOnly bool) error {
	if err := deviceGone(p); err != nil {
		return err
	}
	if !readOnly && (p.SuperReadOnly() || gaveUp(p)) {
		return fmt.Errorf("%w: the kernel has made %s read-only after an error", ErrDamaged, p.Path)
	}
	// stat(2) of the root: an xfs that shut down says EIO, statfs(2) does not.
	_, err := os.Stat(p.Path)
	corrupted := mount.IsCorruptedMnt(err)
	if err == nil {
		_, err = f.Usage(p.Path)
	}
	if corrupted || errors.Is(err, unix.EIO) {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, p.Path, err)
	}
	return err
}

// gaveUp says whether an ext4 that is to stop at errors has met one. Since "ext4: don't set SB_RDONLY after filesystem
// errors" (Linux 6.12, and 6.1.y) the mount table does not say so, before "emergency_ro" (6.15) not at all. The count of
// errors outlives a mount, but none begins with one: see Superblock.HasErrors.
func gaveUp(p Point) bool {
	if slices.Contains(p.Super, "emergency_ro") {
		return true
	}
	if p.FSType != Ext4 || !slices.Contains(p.Super, "errors=remount-ro") {
		return false
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", p.Major, p.Minor))
	if err != nil {
		return false
	}
	count, err := os.ReadFile("/sys/fs/ext4/" + filepath.Base(device) + "/errors_count")
	return err == nil && strings.TrimSpace(string(count)) != "0"
}

// deviceGone says whether the device below a mount was removed: the mount stays, and fails.
func deviceGone(p Point) error {
	major, minor, ok := p.Device()
	if ok {
		_, err := os.Stat(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
		ok = !errors.Is(err, os.ErrNotExist)
	}
	if !ok {
		return fmt.Errorf("%w: the device of %s, %s, is gone", ErrDamaged, p.Path, p.Source)
	}
	return nil
}
