package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// A User-Mode Linux guest keeps to one CPU of this machine. It hands every system call and page fault of a process
// inside from one process outside to another and back; where the other has to be woken on an idle CPU first, that
// takes longer than the work itself.

// maxCPUs is how many a CPUSet can name.
const maxCPUs = 1024

// takeCPU picks the CPU that the fewest guests keep to. Until release is called nobody else picks: by then the guest
// that was picked for must be running.
func takeCPU() (cpu int, release func(), err error) {
	lock, err := os.Open("/proc/self/exe") // the same file for all that boot guests of this checkout
	if err != nil {
		return 0, nil, fmt.Errorf("pick a CPU: %w", err)
	}
	release = func() { _ = lock.Close() }
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		release()
		return 0, nil, fmt.Errorf("pick a CPU: %w", err)
	}
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		release()
		return 0, nil, fmt.Errorf("pick a CPU: %w", err)
	}
	cpu, err = leastUsed(&allowed, guestsPerCPU("/proc"))
	if err != nil {
		release()
		return 0, nil, err
	}
	return cpu, release, nil
}

func leastUsed(allowed *unix.CPUSet, guests map[int]int) (int, error) {
	best := -1
	for cpu := range maxCPUs {
		if allowed.IsSet(cpu) && (best < 0 || guests[cpu] < guests[best]) {
			best = cpu
		}
	}
	if best < 0 {
		return 0, errors.New("pick a CPU: we may use none")
	}
	return best, nil
}

// guestsPerCPU counts the guests' supervisors, which carry their CPU in their arguments.
func guestsPerCPU(proc string) map[int]int {
	guests := map[int]int{}
	files, _ := filepath.Glob(proc + "/[0-9]*/cmdline")
	for _, file := range files {
		data, _ := os.ReadFile(file) // it may have ended
		argv := bytes.Split(data, []byte{0})
		if len(argv) < 3 || string(argv[1]) != SuperviseArg {
			continue
		}
		if cpu, err := strconv.Atoi(string(argv[2])); err == nil {
			guests[cpu]++
		}
	}
	return guests
}

// keepToCPU binds the calling thread, and with it what it starts, to a CPU. The thread stays with its goroutine.
func keepToCPU(name string) error {
	cpu, err := strconv.Atoi(name)
	if err != nil {
		return fmt.Errorf("keep to a CPU: %w", err)
	}
	runtime.LockOSThread()
	var only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("keep to CPU %d: %w", cpu, err)
	}
	return nil
}
