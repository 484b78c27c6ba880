package sysfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDiskStat(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "block", "sda")
	must(t, os.MkdirAll(dir, 0o755))
	for text, want := range map[string]DiskStat{
		// Linux 6.1; the first eleven are there since 2.6.
		"     123        1     2468       77      456       22    91011      890        3     1200     1300        0        0        0        0        5        4\n": {
			Reads: 123, ReadBytes: 2468 * 512, ReadTime: 77 * time.Millisecond,
			Writes: 456, WriteBytes: 91011 * 512, WriteTime: 890 * time.Millisecond, InFlight: 3,
		},
		"0 0 0 0 0 0 0 0 0 0 0\n": {},
	} {
		must(t, os.WriteFile(filepath.Join(dir, "stat"), []byte(text), 0o600))
		got, err := FS(root).DiskStat("sda")
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for _, text := range []string{"", "1 2 3\n", "1 2 3 4 5 6 7 8 -9\n"} {
		must(t, os.WriteFile(filepath.Join(dir, "stat"), []byte(text), 0o600))
		if _, err := FS(root).DiskStat("sda"); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	for _, name := range []string{"", "..", "a/b", "sdb"} {
		if _, err := FS(root).DiskStat(name); !errors.Is(err, ErrGone) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestDiskStatSince(t *testing.T) {
	earlier := DiskStat{Reads: 1, ReadBytes: 512, ReadTime: time.Second, Writes: 2, WriteBytes: 1024, WriteTime: time.Second}
	later := earlier.Plus(DiskStat{Reads: 5, WriteTime: time.Minute, InFlight: 1})
	if diff := cmp.Diff(DiskStat{Reads: 5, WriteTime: time.Minute, InFlight: 1}, later.Since(earlier)); diff != "" {
		t.Error(diff)
	}
	anew := DiskStat{Reads: 7}
	if diff := cmp.Diff(anew, anew.Since(earlier)); diff != "" {
		t.Error(diff)
	}
}
