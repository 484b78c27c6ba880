package scsi

import (
	"errors"
	"testing"
	"unsafe"
)

func TestHeaderIsTheKernels(t *testing.T) {
	if size := unsafe.Sizeof(sgHeader{}); size != 88 {
		t.Errorf("%d bytes, struct sg_io_hdr has 88", size)
	}
}

func TestJudge(t *testing.T) {
	fixed := func(key, code, qualifier byte) []byte {
		return []byte{0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0}
	}
	for _, c := range []struct {
		name   string
		status uint8
		sense  []byte
		ok     bool
		gone   bool
	}{
		{name: "good", ok: true},
		{name: "no such unit", status: 2, sense: fixed(5, 0x25, 0), gone: true},
		{name: "no such unit, descriptors", status: 2, sense: []byte{0x72, 5, 0x25, 0, 0, 0, 0, 0}, gone: true},
		{name: "unit attention", status: 2, sense: fixed(6, 0x3f, 0x0e), ok: true},
		{name: "not ready", status: 2, sense: fixed(2, 4, 1)},
		{name: "another illegal request", status: 2, sense: fixed(5, 0x20, 0)},
		{name: "check condition without sense", status: 2},
		{name: "cut off sense", status: 2, sense: []byte{0x70, 0, 5}},
		{name: "busy", status: 8},
		{name: "unknown format", status: 2, sense: []byte{0x7f, 5, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x25, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := judge(c.status, c.sense)
			if (err == nil) != c.ok || errors.Is(err, ErrGone) != c.gone {
				t.Errorf("%v; want ok %v, gone %v", err, c.ok, c.gone)
			}
		})
	}
}

func FuzzJudge(f *testing.F) {
	f.Add(uint8(2), []byte{0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x25, 0})
	f.Fuzz(func(t *testing.T, status uint8, sense []byte) {
		if err := judge(status, sense); errors.Is(err, ErrGone) && len(sense) < 4 {
			t.Errorf("gone by %x", sense)
		}
	})
}
