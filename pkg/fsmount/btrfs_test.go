package fsmount

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The rewritten superblock has in the fields that matter what btrfstune -M writes; the rest is as it was.
func TestWithFsid(t *testing.T) {
	before, tuned := superblock(t, "btrfs"), superblock(t, "btrfs-metadata-uuid")
	after, err := withFsid(before, repeat(5))
	if err != nil {
		t.Fatal(err)
	}
	for name, field := range map[string][2]int{
		"fsid":          {btrfsFsid, 16},
		"incompat":      {btrfsIncompat, 8},
		"metadata uuid": {btrfsMetadataUUID, 16},
		"dev item":      {btrfsDev + 82, 16},
	} {
		from, to := field[0], field[0]+field[1]
		if !bytes.Equal(after[from:to], tuned[from:to]) {
			t.Errorf("%s: got %x, btrfstune has %x", name, after[from:to], tuned[from:to])
		}
	}
	if sb, ok := parseBtrfsAt(after); !ok || sb.UUID != repeat(5) {
		t.Errorf("not a valid superblock: %+v", sb)
	}
	const generation = 0x48
	if !bytes.Equal(after[generation:generation+32], before[generation:generation+32]) {
		t.Error("generation, roots or log changed")
	}
}

func TestWithFsidAgain(t *testing.T) {
	once, err := withFsid(superblock(t, "btrfs"), repeat(5))
	if err != nil {
		t.Fatal(err)
	}
	twice, err := withFsid(once, repeat(7))
	if err != nil {
		t.Fatal(err)
	}
	metadata := repeat(4)
	if !bytes.Equal(twice[btrfsMetadataUUID:btrfsMetadataUUID+16], metadata[:]) {
		t.Error("a clone of a clone must keep the identifier of the metadata blocks")
	}
}

func TestWithFsidRefuses(t *testing.T) {
	several := superblock(t, "btrfs")
	several[btrfsDevices] = 2
	unknown := superblock(t, "btrfs")
	unknown[btrfsCsumType] = 1
	for name, sb := range map[string][]byte{"several devices": several, "xxhash": unknown} {
		if _, err := withFsid(sb, repeat(5)); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSetBtrfsFsid(t *testing.T) {
	const size = 128 << 20
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "dev"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for _, at := range btrfsOffsets[:2] {
		if _, err := file.WriteAt(superblock(t, "btrfs"), at); err != nil {
			t.Fatal(err)
		}
	}
	// Twice: a crash after the first one is repeated.
	for range 2 {
		if err := setBtrfsFsid(file, size, repeat(5)); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range btrfsOffsets[:2] {
		sb := make([]byte, btrfsSuperLen)
		if _, err := file.ReadAt(sb, at); err != nil {
			t.Fatal(err)
		}
		if got, ok := parseBtrfsAt(sb); !ok || got.UUID != repeat(5) {
			t.Errorf("at %d: %+v", at, got)
		}
	}
}

func TestCloneFsid(t *testing.T) {
	a, b := cloneFsid("naa.60014051"), cloneFsid("naa.60014052")
	if a == b || a != cloneFsid("naa.60014051") {
		t.Error("must depend on the WWID alone")
	}
	if a[6]>>4 != 8 || a[8]>>6 != 2 {
		t.Errorf("not a UUID of version 8: %s", a)
	}
}
