package attach

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

func numbered(minors ...uint32) []multipath.Devno {
	var all []multipath.Devno
	for _, m := range minors {
		all = append(all, multipath.Devno{Major: 8, Minor: m})
	}
	return all
}

func TestGroups(t *testing.T) {
	sys := t.TempDir()
	a := &Attacher{sys: sysfs.FS(sys)}
	var disks []sysfs.Disk
	for i, state := range []string{"active/non-optimized\n", "active/optimized\n", "standby\n", "active/optimized\n"} {
		name := "sd" + string(rune('a'+i))
		dir := filepath.Join(sys, "block", name, "device")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "access_state"), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
		disks = append(disks, sysfs.Disk{Name: name, Major: 8, Minor: uint32(16 * i)})
	}
	want := [][]multipath.Devno{numbered(16, 48), numbered(0), numbered(32)}
	if diff := cmp.Diff(want, a.groups(disks)); diff != "" {
		t.Error(diff)
	}
	alike := []sysfs.Disk{{Name: "sdx", Major: 8, Minor: 1}, {Name: "sdy", Major: 8, Minor: 2}}
	if diff := cmp.Diff([][]multipath.Devno{numbered(1, 2)}, a.groups(alike)); diff != "" {
		t.Error(diff)
	}
}

func TestExtend(t *testing.T) {
	have := [][]multipath.Devno{numbered(1), numbered(2)}
	got := extend(have, [][]multipath.Devno{numbered(3), numbered(4)})
	want := [][]multipath.Devno{numbered(1, 3), numbered(2), numbered(4)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(have[0]) != 1 {
		t.Error("the old table was changed")
	}
	if diff := cmp.Diff([][]multipath.Devno{numbered(3)}, extend(nil, [][]multipath.Devno{numbered(3)})); diff != "" {
		t.Error(diff)
	}
}

func TestStateOf(t *testing.T) {
	states := []multipath.PathState{{Devno: numbered(1)[0], Active: true}, {Devno: numbered(2)[0]}}
	for minor, want := range map[uint32]string{1: StateActive, 2: StateFailed, 3: StateMissing} {
		if got := stateOf(states, numbered(minor)[0]); got != want {
			t.Errorf("%d is %s, want %s", minor, got, want)
		}
	}
}
