package fsmount

import (
	"context"
	"fmt"
)

// Smaller says whether the file system leaves room at the end of a device of that size: a volume that was expanded
// while it was not staged, or a clone larger than its source.
func (s Superblock) Smaller(deviceBytes int64) bool { return deviceBytes-s.SizeBytes >= s.BlockSize }

// Grow grows the file system on device, mounted at path, to the device's size, online. Already that large: success.
func (f *FS) Grow(ctx context.Context, fsType, device, path string) error {
	var name string
	var args []string
	switch fsType {
	case Ext4:
		name, args = "resize2fs", []string{device}
	case XFS:
		name, args = "xfs_growfs", []string{"-d", path}
	case Btrfs:
		name, args = "btrfs", []string{"filesystem", "resize", "max", path}
	default:
		return fmt.Errorf("%w: grow %q", ErrUnsupported, fsType)
	}
	if _, err := f.Run.Run(ctx, nil, name, args...); err != nil {
		return opError("grow the file system on", device, err)
	}
	return nil
}
