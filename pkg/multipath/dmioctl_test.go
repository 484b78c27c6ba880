package multipath

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestEncodeHead(t *testing.T) {
	want := head{flags: flagNoFlush, targetCount: 1, eventNr: 0x60 << udevShift, dev: 0xfe00, name: "n", uuid: "mpath-u"}
	buf := encode(want, []byte("payload"), smallReply)
	if len(buf) != headSize+smallReply || string(buf[headSize:headSize+7]) != "payload" {
		t.Errorf("%d bytes", len(buf))
	}
	if diff := cmp.Diff(want, decode(buf), cmp.AllowUnexported(head{})); diff != "" {
		t.Error(diff)
	}
}

func TestTables(t *testing.T) {
	want := target{start: 0, length: 524288, kind: "multipath", params: fourPaths.params()}
	buf := encode(head{targetCount: 1}, encodeTable(want), 0)
	got, err := decodeTable(buf, 1)
	if diff := cmp.Diff([]target{want}, got, cmp.AllowUnexported(target{})); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := decodeTable(buf, 2); err == nil {
		t.Error("a table beyond the buffer was read")
	}
}

func FuzzDecodeTable(f *testing.F) {
	f.Add(encode(head{targetCount: 1}, encodeTable(target{length: 8, kind: "multipath", params: "0 0 0 0"}), 0), uint32(1))
	f.Fuzz(func(_ *testing.T, buf []byte, n uint32) {
		if len(buf) < headSize {
			return
		}
		_, _ = decodeTable(buf, n)
	})
}

func TestHasTarget(t *testing.T) {
	entry := func(name string, last bool) []byte {
		b := make([]byte, 32)
		if !last {
			binary.NativeEndian.PutUint32(b, 32)
		}
		copy(b[16:], name)
		return b
	}
	buf := encode(head{}, append(entry("linear", false), entry("multipath", true)...), 0)
	if !hasTarget(buf, "multipath") || !hasTarget(buf, "linear") || hasTarget(buf, "thin") {
		t.Error("hasTarget is wrong")
	}
}

func TestNumbers(t *testing.T) {
	for dev, want := range map[uint64]Devno{
		0xfe00: {254, 0}, 0x810: {8, 16}, uint64(1)<<20 | 0xfe<<8 | 1: {254, 257},
	} {
		if got := mknum(dev); got != want || uint64(got.Major)<<8|uint64(got.Minor&0xff)|uint64(got.Minor&^0xff)<<12 != dev {
			t.Errorf("%#x: %v, want %v", dev, got, want)
		}
	}
}

func TestTyped(t *testing.T) {
	for _, c := range []struct {
		cmd  uintptr
		err  error
		want error
	}{
		{cmdDevStatus, unix.ENXIO, ErrNotFound},
		{cmdDevCreate, unix.EBUSY, ErrExists},
		{cmdDevRemove, unix.EBUSY, ErrOpen},
		{cmdTableLoad, unix.EBUSY, ErrOpen},
		{cmdTableLoad, unix.EINVAL, unix.EINVAL},
	} {
		if err := typed(c.cmd, c.err); !errors.Is(err, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%d %v: %v", c.cmd, c.err, err)
		}
	}
}

func TestNoDeviceMapper(t *testing.T) {
	d := NewDM(filepath.Join(t.TempDir(), "dev"))
	if err := d.Ready(); !errors.Is(err, ErrNoKernel) {
		t.Errorf("got %v", err)
	}
}
