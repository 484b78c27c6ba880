package fsmount

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/hostexec"
)

// tools plays wipefs and mkfs.ext4 on plain files, and panics at any other program.
type tools struct {
	t testing.TB
	// wipefs is its output and error, mkfsErr what mkfs ends with after it has written partial content.
	wipefs    string
	wipefsErr error
	mkfsErr   error
	ran       []string
}

// Run implements hostexec.Runner.
func (f *tools) Run(_ context.Context, _ []byte, name string, args ...string) ([]byte, error) {
	f.ran = append(f.ran, name)
	device := args[len(args)-1]
	switch name {
	case "wipefs":
		return []byte(f.wipefs), f.wipefsErr
	case "mkfs.ext4":
		if f.mkfsErr != nil {
			write(f.t, device, 1<<19, []byte("inode table"))
			return nil, f.mkfsErr
		}
		uuid := args[slices.Index(args, "-U")+1]
		write(f.t, device, 1024, ext4With(f.t, uuid))
		return nil, nil
	default:
		panic(fmt.Sprint("surprise: ", name, args))
	}
}

// ext4With is the captured superblock with another UUID.
func ext4With(t testing.TB, uuid string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil {
		t.Fatal(err)
	}
	sb := superblock(t, "ext4")
	copy(sb[0x68:], raw)
	binary.LittleEndian.PutUint32(sb[0x3FC:], ^crc32.Checksum(sb[:0x3FC], castagnoli))
	return sb
}

// write puts content on a device.
func write(t testing.TB, device string, at int64, content []byte) {
	t.Helper()
	file, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(content, at); err != nil {
		t.Fatal(err)
	}
}

const deviceSize = 320 << 20

// newDevice is a blank "device".
func newDevice(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(deviceSize); err != nil {
		t.Fatal(err)
	}
	return path
}

// journal keeps what Begin was told.
type journal struct{ began []UUID }

func (j *journal) begin(u UUID) error {
	j.began = append(j.began, u)
	return nil
}

func TestPrepareFormatsBlank(t *testing.T) {
	dev, run, j := newDevice(t), &tools{t: t}, &journal{}
	sb, err := New(run).Prepare(t.Context(), Prepare{Device: dev, FSType: Ext4, Begin: j.begin})
	if err != nil {
		t.Fatal(err)
	}
	if len(j.began) != 1 || sb.UUID != j.began[0] {
		t.Errorf("recorded %v, made %v", j.began, sb.UUID)
	}
	if diff := cmp.Diff([]string{"wipefs", "mkfs.ext4"}, run.ran); diff != "" {
		t.Error(diff)
	}
	// Again: nothing is run at all.
	run.ran = nil
	if _, err := New(run).Prepare(t.Context(), Prepare{Device: dev, FSType: Ext4}); err != nil || run.ran != nil {
		t.Errorf("err %v, ran %v", err, run.ran)
	}
}

func TestPrepareRefuses(t *testing.T) {
	broken := &hostexec.Error{Name: "wipefs", ExitCode: 1, Stderr: "probing initialization failed: Input/output error"}
	tests := map[string]struct {
		content map[int64][]byte
		tools   tools
		p       Prepare
		want    error
	}{
		"one byte in the first MiB":        {content: map[int64][]byte{1<<20 - 1: {1}}, want: ErrNotBlank},
		"one byte in the last MiB":         {content: map[int64][]byte{deviceSize - 1: {1}}, want: ErrNotBlank},
		"backup superblock":                {content: map[int64][]byte{128 << 20: {1}}, want: ErrNotBlank},
		"sample":                           {content: map[int64][]byte{deviceSize / samples * 7: {1}}, want: ErrNotBlank},
		"partition table":                  {content: map[int64][]byte{510: {0x55, 0xAA}}, want: ErrNotBlank},
		"libblkid finds what we do not":    {tools: tools{wipefs: "zfs_member 0x3f000\n"}, want: ErrNotBlank},
		"libblkid cannot look":             {tools: tools{wipefsErr: broken}, want: broken},
		"another file system":              {content: map[int64][]byte{0: superblock(t, "xfs")}, want: ErrOtherFS},
		"ext3 is not ext4":                 {content: map[int64][]byte{1024: superblock(t, "ext3")}, want: ErrOtherFS},
		"two file systems":                 {content: map[int64][]byte{1024: superblock(t, "ext4"), 64 << 10: superblock(t, "btrfs")}, want: ErrNotBlank},
		"blank, but only read":             {p: Prepare{NeverFormat: true}, want: ErrOtherFS},
		"unknown file system":              {p: Prepare{FSType: "vfat"}, want: ErrUnsupported},
		"begun here, completed by another": {content: map[int64][]byte{500 << 10: {1}, 8 << 20: superblock(t, "ext4")}, p: Prepare{Began: new(UUID)}, want: ErrNotBlank},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dev := newDevice(t)
			for at, content := range tc.content {
				write(t, dev, at, content)
			}
			run := tc.tools
			run.t = t
			p := tc.p
			p.Device, p.Begin = dev, func(UUID) error { panic("surprise: formatting begins") }
			if p.FSType == "" {
				p.FSType = Ext4
			}
			_, err := New(&run).Prepare(t.Context(), p)
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if slices.Contains(run.ran, "mkfs.ext4") {
				t.Error("formatted")
			}
		})
	}
}

func TestPrepareConverges(t *testing.T) {
	dev, j := newDevice(t), &journal{}
	killed := &hostexec.Error{Name: "mkfs.ext4", ExitCode: -1, Err: context.DeadlineExceeded}
	run := &tools{t: t, mkfsErr: killed}
	p := Prepare{Device: dev, FSType: Ext4, Begin: j.begin}
	if _, err := New(run).Prepare(t.Context(), p); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	run.mkfsErr = nil
	if _, err := New(run).Prepare(t.Context(), p); !errors.Is(err, ErrNotBlank) {
		t.Errorf("without the record: got %v", err)
	}
	p.Began = &j.began[0]
	sb, err := New(run).Prepare(t.Context(), p)
	if err != nil || sb.UUID != j.began[0] || len(j.began) != 1 {
		t.Errorf("with the record: %v, %v, began %v", err, sb, j.began)
	}
}

// A device that mkfs still has open must not be formatted by a second one.
func TestPrepareWaitsForEarlierMkfs(t *testing.T) {
	dev := newDevice(t)
	write(t, dev, 1<<19, []byte("inode table"))
	holder := hold(t, dev)
	began := repeat(9)
	p := Prepare{Device: dev, FSType: Ext4, Began: &began, Begin: func(UUID) error { panic("surprise") }}
	if _, err := New(&tools{t: t}).Prepare(t.Context(), p); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
	holder()
	if _, err := New(&tools{t: t}).Prepare(t.Context(), p); err != nil {
		t.Error(err)
	}
}

func TestPrepareTooSmall(t *testing.T) {
	dev := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(dev, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(&tools{t: t}).Prepare(t.Context(), Prepare{Device: dev, FSType: Ext4})
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func TestCheck(t *testing.T) {
	tests := map[string]struct {
		sb   Superblock
		exit int
		want error
		runs bool
	}{
		"clean":          {sb: Superblock{FSType: Ext4}},
		"xfs never":      {sb: Superblock{FSType: XFS, HasErrors: true}},
		"repaired":       {sb: Superblock{FSType: Ext4, HasErrors: true}, exit: 1, runs: true},
		"not repairable": {sb: Superblock{FSType: Ext4, HasErrors: true}, exit: 4, want: ErrDamaged, runs: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			run := &fsck{exit: tc.exit}
			err := New(run).check(t.Context(), "/dev/x", tc.sb)
			if !errors.Is(err, tc.want) || run.ran != tc.runs {
				t.Errorf("err %v, ran %v", err, run.ran)
			}
		})
	}
}

// fsck plays e2fsck.
type fsck struct {
	exit int
	ran  bool
}

// Run implements hostexec.Runner.
func (f *fsck) Run(_ context.Context, _ []byte, name string, args ...string) ([]byte, error) {
	if name != "e2fsck" {
		panic("surprise: " + name)
	}
	f.ran = true
	if f.exit == 0 {
		return nil, nil
	}
	return nil, &hostexec.Error{Name: name, Args: args, ExitCode: f.exit}
}
