package fsmount

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
)

// headSize is how much of a device's beginning Recognize needs: the last superblock is that of btrfs, at 64 KiB.
const headSize = 128 << 10

// Superblock is what a device's own superblock says. Only complete ones count: mkfs writes the superblock last
// (ext4), marks it as in progress (xfs) or with another magic number (btrfs) until everything else is on the device.
type Superblock struct {
	// FSType is ext4, xfs or btrfs, or ext2 and ext3, which are recognised but not supported.
	FSType string
	UUID   UUID
	// SizeBytes is how much of the device the file system uses; BlockSize its unit.
	SizeBytes, BlockSize int64
	// HasErrors says that the kernel noted an inconsistency (ext4 only).
	HasErrors bool
	// HasLog says that the log must be replayed before the content is whole (btrfs only).
	HasLog bool
}

// UUID is a file system's identifier.
type UUID [16]byte

// String is the usual form, 8-4-4-4-12 hexadecimal digits.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// Recognize finds the complete superblocks in the first headSize bytes of a device. More than one means that an
// older file system was not wiped, so nobody can say which is meant.
func Recognize(head []byte) []Superblock {
	var found []Superblock
	for _, parse := range []func([]byte) (Superblock, bool){parseExt, parseXFS, parseBtrfs} {
		if sb, ok := parse(head); ok {
			found = append(found, sb)
		}
	}
	return found
}

// castagnoli is the CRC-32C of all three file systems.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	extOffset, extLen = 1024, 1024
	extMagic          = 0xEF53

	extCompatJournal    = 0x4
	extIncompatJournal  = 0x8
	extROMetadataCsum   = 0x400
	extStateErrors      = 0x2
	extIncompat64Bit    = 0x80
	extIncompatOnlyExt4 = 0x40 | extIncompat64Bit | 0x100 | 0x200      // extents, 64bit, mmp, flex_bg
	extROOnlyExt4       = 0x8 | 0x10 | 0x20 | 0x40 | extROMetadataCsum // huge_file, gdt_csum, dir_nlink, extra_isize
)

// parseExt reads struct ext4_super_block (fs/ext4/ext4.h).
func parseExt(head []byte) (Superblock, bool) {
	if len(head) < extOffset+extLen {
		return Superblock{}, false
	}
	return parseExtAt(head[extOffset : extOffset+extLen])
}

// parseExtAt reads the superblock itself, which has copies in other block groups.
func parseExtAt(sb []byte) (Superblock, bool) {
	le := binary.LittleEndian
	incompat, ro := le.Uint32(sb[0x60:]), le.Uint32(sb[0x64:])
	logBlock := le.Uint32(sb[0x18:])
	if le.Uint16(sb[0x38:]) != extMagic || logBlock > 6 || incompat&extIncompatJournal != 0 {
		return Superblock{}, false
	}
	// ext4_superblock_csum: all ones in, not inverted out.
	if ro&extROMetadataCsum != 0 && ^crc32.Checksum(sb[:0x3FC], castagnoli) != le.Uint32(sb[0x3FC:]) {
		return Superblock{}, false
	}
	blocks := uint64(le.Uint32(sb[0x4:]))
	if incompat&extIncompat64Bit != 0 {
		blocks |= uint64(le.Uint32(sb[0x150:])) << 32
	}
	s := Superblock{FSType: extName(le.Uint32(sb[0x5C:]), incompat, ro), BlockSize: 1024 << logBlock}
	// A full check clears both s_state and s_error_count.
	s.HasErrors = le.Uint16(sb[0x3A:])&extStateErrors != 0 || le.Uint32(sb[0x194:]) != 0
	copy(s.UUID[:], sb[0x68:])
	return s.sized(blocks)
}

// extName tells the members of the family apart as libblkid does: by features that only the younger knows.
func extName(compat, incompat, ro uint32) string {
	switch {
	case incompat&extIncompatOnlyExt4 != 0 || ro&extROOnlyExt4 != 0:
		return Ext4
	case compat&extCompatJournal != 0:
		return "ext3"
	default:
		return "ext2"
	}
}

// parseXFS reads struct xfs_dsb (fs/xfs/libxfs/xfs_format.h).
func parseXFS(head []byte) (Superblock, bool) {
	const length = 512
	be := binary.BigEndian
	if len(head) < length || !bytes.HasPrefix(head, []byte("XFSB")) {
		return Superblock{}, false
	}
	block, sector := be.Uint32(head[4:]), int(be.Uint16(head[102:]))
	inProgress := head[126] != 0
	if inProgress || block < 512 || block > 64<<10 || sector < length || sector > min(32<<10, len(head)) {
		return Superblock{}, false
	}
	if be.Uint16(head[100:])&0xF == 5 && xfsChecksum(head[:sector]) != binary.LittleEndian.Uint32(head[224:]) {
		return Superblock{}, false
	}
	s := Superblock{FSType: XFS, BlockSize: int64(block)}
	copy(s.UUID[:], head[32:])
	return s.sized(be.Uint64(head[8:]))
}

// xfsChecksum is the CRC of the superblock's sector with its own field as zeros (xfs_start_cksum_safe).
func xfsChecksum(sector []byte) uint32 {
	crc := crc32.Update(0, castagnoli, sector[:224])
	crc = crc32.Update(crc, castagnoli, make([]byte, 4))
	return crc32.Update(crc, castagnoli, sector[228:])
}

// sized fills in the size, and refuses a superblock whose size cannot be.
func (s Superblock) sized(blocks uint64) (Superblock, bool) {
	// Blocks are of at most 64 KiB.
	const maxBlocks = 1 << 46
	if blocks == 0 || blocks > maxBlocks {
		return Superblock{}, false
	}
	s.SizeBytes = int64(blocks) * s.BlockSize
	return s, true
}
