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

func disksOf(minors ...uint32) []sysfs.Disk {
	var all []sysfs.Disk
	for _, m := range minors {
		all = append(all, sysfs.Disk{Major: 8, Minor: m})
	}
	return all
}

func TestByPriority(t *testing.T) {
	values := map[multipath.Devno]int{}
	for i, n := range numbered(0, 16, 32, 48) {
		values[n] = []int{10, 50, 1, 50}[i]
	}
	want := [][]multipath.Devno{numbered(16, 48), numbered(0), numbered(32)}
	if diff := cmp.Diff(want, byPriority(disksOf(0, 16, 32, 48), values)); diff != "" {
		t.Error(diff)
	}
}

// TestAlike: nothing is asked of disks whose target says nothing of asymmetric access.
func TestAlike(t *testing.T) {
	a := &Attacher{sys: sysfs.FS(t.TempDir())}
	for _, name := range []string{"sdx", "sdy"} {
		dir := filepath.Join(string(a.sys), "block", name, "device")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "inquiry"), make([]byte, 36), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	disks := []sysfs.Disk{{Name: "sdx", Major: 8, Minor: 1}, {Name: "sdy", Major: 8, Minor: 2}}
	if diff := cmp.Diff([][]multipath.Devno{numbered(1, 2)}, a.groups(disks)); diff != "" {
		t.Error(diff)
	}
}

func TestExtend(t *testing.T) {
	n := numbered(0, 1, 2, 3)
	have := [][]multipath.Devno{{n[1]}, {n[2]}}
	for _, c := range []struct {
		name   string
		values map[multipath.Devno]int
		want   [][]multipath.Devno
	}{
		{"all alike", map[multipath.Devno]int{n[1]: alike, n[2]: alike, n[3]: alike}, [][]multipath.Devno{{n[1], n[3]}, {n[2]}}},
		{"like the second", map[multipath.Devno]int{n[1]: 50, n[2]: 10, n[3]: 10}, [][]multipath.Devno{{n[1]}, {n[2], n[3]}}},
		{"like none", map[multipath.Devno]int{n[1]: 50, n[2]: 10, n[3]: 1}, [][]multipath.Devno{{n[1]}, {n[2]}, {n[3]}}},
		{"the others are gone", map[multipath.Devno]int{n[3]: alike}, [][]multipath.Devno{{n[1], n[3]}, {n[2]}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, extend(have, disksOf(3), c.values)); diff != "" {
				t.Error(diff)
			}
			if len(have[0]) != 1 {
				t.Error("the old table was changed")
			}
		})
	}
	values := map[multipath.Devno]int{n[0]: 10, n[3]: 50}
	if diff := cmp.Diff([][]multipath.Devno{{n[3]}, {n[0]}}, extend(nil, disksOf(0, 3), values)); diff != "" {
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
