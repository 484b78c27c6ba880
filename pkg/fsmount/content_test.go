package fsmount

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// placed are where superblocks begin, by file of testdata.
var placed = map[string]int{
	"ext2": 1024, "ext3": 1024, "ext4": 1024, "ext4-errors": 1024, "xfs": 0,
	"btrfs": 64 << 10, "btrfs-sha256": 64 << 10, "btrfs-metadata-uuid": 64 << 10,
}

// superblock reads a captured superblock.
func superblock(t testing.TB, name string) []byte {
	t.Helper()
	sb, err := os.ReadFile(filepath.Join("testdata", name+".sb"))
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

// headOf is the beginning of a device with the captured superblocks.
func headOf(t testing.TB, names ...string) []byte {
	t.Helper()
	head := make([]byte, headSize)
	for _, n := range names {
		copy(head[placed[n]:], superblock(t, n))
	}
	return head
}

// repeat is the UUID that consists of one digit, but for version and variant.
func repeat(digit byte) UUID {
	u := UUID(bytes.Repeat([]byte{digit<<4 | digit}, 16))
	u[6], u[8] = 0x40|digit, 0x80|digit
	return u
}

func TestRecognize(t *testing.T) {
	const size = 320 << 20
	tests := map[string]struct {
		head []byte
		want []Superblock
	}{
		"zeros":       {make([]byte, headSize), nil},
		"short":       {make([]byte, 100), nil},
		"ext2":        {headOf(t, "ext2"), []Superblock{{FSType: "ext2", UUID: repeat(2), SizeBytes: size, BlockSize: 1024}}},
		"ext3":        {headOf(t, "ext3"), []Superblock{{FSType: "ext3", UUID: repeat(2), SizeBytes: size, BlockSize: 1024}}},
		"ext4":        {headOf(t, "ext4"), []Superblock{{FSType: Ext4, UUID: repeat(1), SizeBytes: size, BlockSize: 1024}}},
		"ext4 errors": {headOf(t, "ext4-errors"), []Superblock{{FSType: Ext4, UUID: repeat(1), SizeBytes: size, BlockSize: 1024, HasErrors: true}}},
		"xfs":         {headOf(t, "xfs"), []Superblock{{FSType: XFS, UUID: repeat(3), SizeBytes: size, BlockSize: 4096}}},
		"btrfs":       {headOf(t, "btrfs"), []Superblock{{FSType: Btrfs, UUID: repeat(4), SizeBytes: size, BlockSize: 4096}}},
		"sha256":      {headOf(t, "btrfs-sha256"), []Superblock{{FSType: Btrfs, UUID: repeat(6), SizeBytes: size, BlockSize: 4096}}},
		"two": {headOf(t, "ext4", "btrfs"), []Superblock{
			{FSType: Ext4, UUID: repeat(1), SizeBytes: size, BlockSize: 1024},
			{FSType: Btrfs, UUID: repeat(4), SizeBytes: size, BlockSize: 4096},
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Recognize(tc.head)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every bit that is not what mkfs wrote makes a superblock incomplete: it is neither mounted nor taken for blank.
func TestRecognizeDamaged(t *testing.T) {
	for name, at := range map[string]int{"ext4": 0x68, "xfs": 40, "btrfs": 0x48, "btrfs-sha256": 0x48} {
		t.Run(name, func(t *testing.T) {
			head := headOf(t, name)
			head[placed[name]+at] ^= 1
			if got := Recognize(head); got != nil {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestRecognizeUnfinished(t *testing.T) {
	t.Run("xfs in progress", func(t *testing.T) {
		head := headOf(t, "xfs")
		head[126] = 1
		binary.LittleEndian.PutUint32(head[224:], xfsChecksum(head[:512]))
		if got := Recognize(head); got != nil {
			t.Errorf("got %v", got)
		}
	})
	t.Run("btrfs with the temporary magic", func(t *testing.T) {
		head := headOf(t, "btrfs")
		sb := head[64<<10:][:btrfsSuperLen]
		copy(sb[btrfsMagicAt:], "!BHRfS_M")
		binary.LittleEndian.PutUint32(sb, crc32.Checksum(sb[btrfsFsid:], castagnoli))
		if got := Recognize(head); got != nil {
			t.Errorf("got %v", got)
		}
	})
}

func TestUUIDString(t *testing.T) {
	if got, want := repeat(1).String(), "11111111-1111-4111-8111-111111111111"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzRecognize(f *testing.F) {
	for name := range placed {
		f.Add(superblock(f, name), placed[name])
	}
	f.Fuzz(func(t *testing.T, sb []byte, at int) {
		head := make([]byte, headSize)
		if at >= 0 && at < len(head) {
			copy(head[at:], sb)
		}
		for _, s := range Recognize(head) {
			if s.SizeBytes <= 0 || s.BlockSize <= 0 {
				t.Errorf("impossible superblock %+v", s)
			}
		}
	})
}
