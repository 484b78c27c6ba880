package fsmount

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A clone of a btrfs has the file system identifier of its source, and kernels before 6.7 (temp_fsid) refuse to mount
// both: EEXIST. The format has the cure: METADATA_UUID, a superblock whose own identifier differs from the one in all
// other blocks. btrfstune(8) -M sets it, but it commits a transaction, and a log that is still to be replayed (any
// fsync since the last commit: the rule in a clone of a mounted volume) then no longer fits: "parent transid verify
// failed", the clone cannot be mounted any more. So the superblock, and nothing else, is rewritten here. The new
// identifier follows from the volume's WWID: repeated after a crash this ends in the same bytes.
const (
	btrfsSuperLen = 4096
	btrfsMagic    = "_BHRfS_M"

	btrfsFsid, btrfsMagicAt, btrfsLogRoot  = 0x20, 0x40, 0x60
	btrfsDevices, btrfsSector              = 0x88, 0x90
	btrfsIncompat, btrfsCsumType, btrfsDev = 0xBC, 0xC4, 0xC9
	btrfsMetadataUUID                      = 0x23B
	btrfsDevTotalBytes                     = btrfsDev + 8

	btrfsIncompatMetadataUUID = 1 << 10
	btrfsCsumCRC32C           = 0
	btrfsCsumSHA256           = 2
)

// btrfsOffsets are where the superblock and its copies are (btrfs_sb_offset).
var btrfsOffsets = [...]int64{64 << 10, 64 << 20, 256 << 30}

// errChecksumType is a btrfs checksum that the standard library does not have.
var errChecksumType = errors.New("checksum is neither crc32c nor sha256")

// parseBtrfs reads struct btrfs_super_block (fs/btrfs/ctree.h). A checksum of an unknown type is not compared: the
// kernel does when it mounts.
func parseBtrfs(head []byte) (Superblock, bool) {
	at := int(btrfsOffsets[0])
	if len(head) < at+btrfsSuperLen {
		return Superblock{}, false
	}
	return parseBtrfsAt(head[at : at+btrfsSuperLen])
}

// parseBtrfsAt reads the superblock itself or one of its copies.
func parseBtrfsAt(sb []byte) (Superblock, bool) {
	le := binary.LittleEndian
	if !bytes.Equal(sb[btrfsMagicAt:btrfsMagicAt+8], []byte(btrfsMagic)) {
		return Superblock{}, false
	}
	sum, err := btrfsChecksum(sb)
	if err == nil && !bytes.Equal(sum, sb[:len(sum)]) {
		return Superblock{}, false
	}
	sector := le.Uint32(sb[btrfsSector:])
	if sector < 4096 || sector > 64<<10 {
		return Superblock{}, false
	}
	s := Superblock{FSType: Btrfs, BlockSize: int64(sector), HasLog: le.Uint64(sb[btrfsLogRoot:]) != 0}
	copy(s.UUID[:], sb[btrfsFsid:])
	return s.sized(le.Uint64(sb[btrfsDevTotalBytes:]) / uint64(sector))
}

// btrfsChecksum is what the first bytes of the superblock must be (btrfs_csum_data).
func btrfsChecksum(sb []byte) ([]byte, error) {
	switch kind := binary.LittleEndian.Uint16(sb[btrfsCsumType:]); kind {
	case btrfsCsumCRC32C:
		return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(sb[btrfsFsid:], castagnoli)), nil
	case btrfsCsumSHA256:
		sum := sha256.Sum256(sb[btrfsFsid:])
		return sum[:], nil
	default:
		return nil, fmt.Errorf("type %d: %w", kind, errChecksumType)
	}
}

// withFsid returns the superblock with another file system identifier. The first change keeps the old one as the
// identifier of the metadata blocks; later ones keep that.
func withFsid(sb []byte, fsid UUID) ([]byte, error) {
	if n := binary.LittleEndian.Uint64(sb[btrfsDevices:]); n != 1 {
		return nil, fmt.Errorf("%w: btrfs over %d devices", ErrUnsupported, n)
	}
	out := bytes.Clone(sb)
	incompat := binary.LittleEndian.Uint64(out[btrfsIncompat:])
	if incompat&btrfsIncompatMetadataUUID == 0 {
		copy(out[btrfsMetadataUUID:btrfsMetadataUUID+16], out[btrfsFsid:])
		binary.LittleEndian.PutUint64(out[btrfsIncompat:], incompat|btrfsIncompatMetadataUUID)
	}
	copy(out[btrfsFsid:], fsid[:])
	sum, err := btrfsChecksum(out)
	if err != nil {
		return nil, fmt.Errorf("%w: btrfs: %w", ErrUnsupported, err)
	}
	copy(out, sum)
	return out, nil
}

// device is what rewriting needs of an open block device.
type device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// setBtrfsFsid gives the unmounted btrfs on dev another identifier. Copies first: mount reads only the first
// superblock, which is as good as the change's commit.
func setBtrfsFsid(dev device, size int64, fsid UUID) error {
	for i := len(btrfsOffsets) - 1; i >= 0; i-- {
		if btrfsOffsets[i]+btrfsSuperLen > size {
			continue
		}
		if err := setFsidAt(dev, btrfsOffsets[i], fsid, i == 0); err != nil {
			return err
		}
		if err := dev.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// setFsidAt rewrites one superblock. A copy that is none, or of another time, is left alone.
func setFsidAt(dev device, offset int64, fsid UUID, primary bool) error {
	sb := make([]byte, btrfsSuperLen)
	if _, err := dev.ReadAt(sb, offset); err != nil {
		return err
	}
	if _, ok := parseBtrfsAt(sb); !ok {
		if primary {
			return fmt.Errorf("%w: no btrfs superblock", ErrDamaged)
		}
		return nil
	}
	changed, err := withFsid(sb, fsid)
	if err != nil {
		return err
	}
	_, err = dev.WriteAt(changed, offset)
	return err
}

// cloneFsid is the identifier that a clone gets: a UUID of version 8 (RFC 9562, section 5.8) made of its WWID.
func cloneFsid(wwid string) UUID {
	sum := sha256.Sum256([]byte("portbind btrfs clone\x00" + wwid))
	var u UUID
	copy(u[:], sum[:])
	u[6] = u[6]&0x0F | 0x80
	u[8] = u[8]&0x3F | 0x80
	return u
}
