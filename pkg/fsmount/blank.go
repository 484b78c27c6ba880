package fsmount

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

const (
	// edge is how much of a device's beginning and end must be zeros to the last byte: partition tables, RAID,
	// LVM, LUKS and ZFS all have something there.
	edge = 1 << 20
	// sample is how much is read at each of the places in between.
	sample = 8 << 10
	// samples is how many places, spread evenly: raw data that happens to begin and end with zeros is found too.
	// A thin volume answers for blocks that were never written without reading anything.
	samples = 64
)

// blank proves as far as one can without reading everything that nothing was ever written to the device: both
// edges, each place where a known file system keeps a copy of its superblock, and samples in between are zeros.
// A read error is an error and never means blank.
func blank(dev io.ReaderAt, size int64) (bool, error) {
	if size < 2*edge {
		return false, fmt.Errorf("%w: %d bytes are too few for a volume", ErrUnsupported, size)
	}
	for _, r := range blankRegions(size) {
		zero, err := zeros(dev, r.offset, r.length)
		if err != nil || !zero {
			return false, err
		}
	}
	return true, nil
}

// region is a part of a device.
type region struct{ offset, length int64 }

// blankRegions are the parts that must be zeros, the likeliest to be not first.
func blankRegions(size int64) []region {
	regions := []region{{0, edge}, {size - edge, edge}}
	for _, at := range superblockCopies(size) {
		regions = append(regions, region{at, sample})
	}
	for i := int64(1); i < samples; i++ {
		regions = append(regions, region{size / samples * i &^ (ioAlign - 1), sample})
	}
	return slices.DeleteFunc(regions, func(r region) bool { return r.offset+r.length > size })
}

// superblockCopies are where copies are found when the first superblock is gone: ext4's first backup for blocks of
// 1, 2 and 4 KiB, btrfs's two, and the allocation groups of an xfs, four by default.
func superblockCopies(size int64) []int64 {
	copies := []int64{8 << 20, 32 << 20, 128 << 20}
	copies = append(copies, btrfsOffsets[1:]...)
	for i := range int64(3) {
		copies = append(copies, size/4*(i+1)&^(ioAlign-1))
	}
	return copies
}

// zeros says whether a region has nothing but zeros.
func zeros(dev io.ReaderAt, offset, length int64) (bool, error) {
	buf := make([]byte, length)
	if _, err := dev.ReadAt(buf, offset); err != nil {
		return false, fmt.Errorf("read %d bytes at %d: %w", length, offset, err)
	}
	return allZero(buf), nil
}

// allZero compares the buffer with itself, shifted by one: as fast as memcmp.
func allZero(b []byte) bool { return len(b) == 0 || b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:]) }
