package sysfs

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseHCTL(t *testing.T) {
	good := map[string]HCTL{
		"0:0:0:0":                    {},
		"12:0:1:16684":               {12, 0, 1, 16684},
		"2:0:0:18446744073709551615": {2, 0, 0, 1<<64 - 1},
	}
	for text, want := range good {
		if got, err := ParseHCTL(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	bad := []string{
		"", "0:0:0", "0:0:0:0:0", "-1:0:0:0", "+1:0:0:0", "0:0:0:+1", "0:0:0:", "a:0:0:0", "0:0:0:0 ", "target0:0:0",
	}
	for _, text := range bad {
		if got, err := ParseHCTL(text); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
}

func TestKernelLUNs(t *testing.T) {
	tests := map[int][]uint64{
		-1: nil, 0: {0}, 255: {255}, 256: {256, 0x4100}, 300: {300, 16684}, 16383: {16383, 32767}, 16384: {16384}, 20000: {20000},
	}
	for lun, want := range tests {
		if diff := cmp.Diff(want, KernelLUNs(lun)); diff != "" {
			t.Errorf("LUN %d: %s", lun, diff)
		}
	}
}

func FuzzParseHCTL(f *testing.F) {
	f.Add("2:0:0:300")
	f.Add("2:0:0:-1")
	f.Fuzz(func(t *testing.T, text string) {
		address, err := ParseHCTL(text)
		if err != nil {
			return
		}
		again, err := ParseHCTL(address.String())
		if err != nil || again != address {
			t.Errorf("%q: %v became %v, %v", text, address, again, err)
		}
	})
}
