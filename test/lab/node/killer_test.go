//go:build lab

package node

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/hostexec"
)

// writeKiller runs mkfs under ptrace(2) and kills it as it is about to do its nth write, which is exact where a timer
// would nearly always be too early or too late. 0 only counts.
type writeKiller struct {
	nth    int
	writes int // how many there were
}

// errKilled is what mkfs ended with.
var errKilled = errors.New("killed by the test")

// Run implements hostexec.Runner.
func (k *writeKiller) Run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	if !strings.HasPrefix(name, "mkfs.") {
		return hostexec.New(hostexec.Options{}).Run(ctx, stdin, name, args...)
	}
	// Only the thread that started a traced process may control it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
		return nil, err
	}
	if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD); err != nil {
		return nil, err
	}
	return nil, k.trace(pid)
}

// trace lets the process run from one system call to the next.
func (k *writeKiller) trace(pid int) error {
	deliver, entering := 0, false
	for {
		// ESRCH: it is killed already; Wait4 says so.
		if err := unix.PtraceSyscall(pid, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("trace: %w", err)
		}
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		switch deliver = 0; {
		case status.Signaled():
			return errKilled
		case status.Exited() && status.ExitStatus() != 0:
			return fmt.Errorf("exit status %d", status.ExitStatus())
		case status.Exited():
			return nil
		case status.StopSignal() != unix.SIGTRAP|0x80:
			deliver = int(status.StopSignal())
		default:
			if entering = !entering; entering && k.isNth(pid) {
				_ = unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// isNth counts the writes.
func (k *writeKiller) isNth(pid int) bool {
	if systemCall(pid) != unix.SYS_PWRITE64 {
		return false
	}
	k.writes++
	return k.writes == k.nth
}

// systemCall is the number of the system call that the process has stopped in. PTRACE_PEEKUSR: User-Mode Linux has no
// PTRACE_GETREGS.
func systemCall(pid int) uint64 {
	const origRAX = 15 * 8 // in struct user_regs_struct
	var word uint64
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_PEEKUSR, uintptr(pid), origRAX, uintptr(unsafe.Pointer(&word)), 0, 0)
	if errno != 0 {
		panic(errno)
	}
	return word
}
