// Package fsmount puts a file system on a block device, only when the device is provably blank, and mounts, binds,
// grows and measures it. Mounting is mount(2) itself and content is recognised by reading the device: a volume that
// is staged again starts no program at all. The real tools (mkfs, e2fsck, resize2fs, ...) do all that writes to a
// file system, with one exception that no tool can do; see btrfs.go.
package fsmount

import (
	"errors"
	"fmt"
	"slices"

	"github.com/portbind/portbind/pkg/hostexec"
)

// Errors that callers tell apart; the message around them says which device or path, and what to do.
var (
	// ErrNotBlank is a device without a file system that we know, and that is not provably blank either.
	ErrNotBlank = errors.New("device is not blank")
	// ErrOtherFS is a device with another file system than the one asked for.
	ErrOtherFS = errors.New("device has another file system")
	// ErrInUse is a device that another program holds, or a mount that is busy.
	ErrInUse = errors.New("in use")
	// ErrDamaged is a file system that needs a hand: its checker gave up, or the kernel refuses or gave up on it.
	ErrDamaged = errors.New("file system is damaged")
	// ErrOption is a mount option that is malformed or not allowed.
	ErrOption = errors.New("mount option not allowed")
	// ErrUnsupported is a file system type that this package or the kernel does not know.
	ErrUnsupported = errors.New("file system not supported")
	// ErrTarget is a path that is not what a mount needs.
	ErrTarget = errors.New("unsuitable path")
)

// The file systems that volumes may have.
const (
	Ext4  = "ext4"
	XFS   = "xfs"
	Btrfs = "btrfs"
)

// Supported says whether volumes may have this file system.
func Supported(fsType string) bool { return slices.Contains([]string{Ext4, XFS, Btrfs}, fsType) }

// FS does the work of this package. It holds no state but its runner and is safe for concurrent use; that two
// calls do not work on one device at once is the caller's duty.
//
// Methods block as long as the kernel does: a device whose paths are all dead and queue keeps mount(2), umount(2)
// and reads waiting whatever the context says. The caller keeps its lock until they return.
type FS struct {
	// Run starts mkfs and the like, where /dev and the mounts are the same as here.
	Run hostexec.Runner
	// MountInfo is the mount table to read: /proc/self/mountinfo.
	MountInfo string
}

// New returns an FS that starts programs with run.
func New(run hostexec.Runner) *FS { return &FS{Run: run, MountInfo: "/proc/self/mountinfo"} }

// opError says in which step on which device or path something failed.
func opError(op, where string, err error) error { return fmt.Errorf("%s %s: %w", op, where, err) }
