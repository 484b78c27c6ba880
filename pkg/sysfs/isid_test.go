package sysfs

import (
	"errors"
	"os"
	"testing"
)

func TestISID(t *testing.T) {
	f := tree(t, "up.tree")
	for text, want := range map[string][6]byte{
		"00023d000001\n": {0, 2, 0x3d, 0, 0, 1}, "000000000000\n": {}, "(null)\n": {},
	} {
		must(t, os.WriteFile(f.path("class/iscsi_session/session1/isid"), []byte(text), 0o600))
		if got, err := f.ISID(1); err != nil || got != want {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"00023d\n", "zz023d000001\n"} {
		must(t, os.WriteFile(f.path("class/iscsi_session/session1/isid"), []byte(text), 0o600))
		if got, err := f.ISID(1); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	if got, err := f.ISID(2); err != nil || got != [6]byte{} {
		t.Errorf("a kernel without it: %x, %v", got, err)
	}
}
