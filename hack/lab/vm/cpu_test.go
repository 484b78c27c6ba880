package vm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestGuestsPerCPU(t *testing.T) {
	proc := t.TempDir()
	for pid, argv := range map[string]string{
		"1":  "/sbin/init\x00",
		"7":  "/proc/self/exe\x00supervise\x000\x00linux.uml\x00mem=2G\x00",
		"8":  "/proc/self/exe\x00supervise\x002\x00linux.uml\x00",
		"9":  "/proc/self/exe\x00supervise\x000\x00linux.uml\x00",
		"10": "/proc/self/exe\x00supervise\x00linux.uml\x00", // of an older checkout
		"11": "",                                             // a kernel thread
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(argv), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[int]int{0: 2, 2: 1}, guestsPerCPU(proc)); diff != "" {
		t.Error(diff)
	}
}

func TestLeastUsed(t *testing.T) {
	for _, tt := range []struct {
		name    string
		allowed []int
		guests  map[int]int
		want    int
	}{
		{"nobody there", []int{0, 1}, nil, 0},
		{"one there", []int{0, 1}, map[int]int{0: 1}, 1},
		{"all have some", []int{0, 1, 2}, map[int]int{0: 2, 1: 1, 2: 1}, 1},
		{"only some are ours", []int{2, 5}, map[int]int{2: 1}, 5},
	} {
		var set unix.CPUSet
		for _, cpu := range tt.allowed {
			set.Set(cpu)
		}
		if got, err := leastUsed(&set, tt.guests); err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; wanted %d", tt.name, got, err, tt.want)
		}
	}
	if _, err := leastUsed(&unix.CPUSet{}, nil); err == nil {
		t.Error("no CPU is allowed, and one was picked")
	}
}
