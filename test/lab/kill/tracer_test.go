//go:build lab

package kill

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test binary is also the killer: with killPID set it follows that process by ptrace(2), counts the system calls by
// which it changes anything, and ends it with SIGKILL as it is about to do the one numbered killStep. It says "ready" when it
// follows all threads, then what the step was, or "none" when its standard input ends before. So the plugin under test is the
// one that is shipped.
const (
	killPID  = "LAB_KILL_PID"
	killStep = "LAB_KILL_STEP"
)

func TestMain(m *testing.M) {
	if pid, err := strconv.Atoi(os.Getenv(killPID)); err == nil {
		step, _ := strconv.Atoi(os.Getenv(killStep))
		if err := (&tracer{pid: pid, step: step}).run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type tracer struct {
	pid, step int
	steps     int // so far
}

const (
	options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE
	syscall = unix.SIGTRAP | 0x80
	// Of struct user_regs_struct, in words. User-Mode Linux has no PTRACE_GETREGS.
	regRAX, regRDX, regRSI, regRDI, regOrigRAX = 10, 12, 13, 14, 15
)

// run returns when the process is gone, or when nobody wants the kill any more: what was followed goes on by itself then.
func (t *tracer) run() error {
	gone, unwanted := make(chan error, 1), make(chan struct{})
	go func() { gone <- t.follow() }()
	go func() {
		defer close(unwanted)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case err := <-gone:
		return err
	case <-unwanted:
		fmt.Println("none")
		return nil
	}
}

func (t *tracer) follow() error {
	// Only the thread that seized a process may control it.
	runtime.LockOSThread()
	if err := t.seize(); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if errors.Is(err, unix.ECHILD) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wait: %w", err)
		}
		t.stopped(tid, status)
	}
}

// seize follows every thread, those that are born meanwhile included.
func (t *tracer) seize() error {
	have := map[int]bool{}
	for {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
		if err != nil {
			return err
		}
		more := false
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			if have[tid] {
				continue
			}
			have[tid], more = true, true
			// EPERM: the thread that bore it is followed already, and so is it.
			if err := ptrace(unix.PTRACE_SEIZE, tid, 0, options); err != nil && !errors.Is(err, unix.EPERM) {
				return fmt.Errorf("seize %d: %w", tid, err)
			}
			_ = ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0)
		}
		if !more {
			return nil
		}
	}
}

// stopped lets a thread go on, to its next system call, or kills its process.
func (t *tracer) stopped(tid int, status unix.WaitStatus) {
	if !status.Stopped() {
		return
	}
	deliver := uintptr(status.StopSignal())
	switch {
	case status.StopSignal() == syscall:
		deliver = 0
		if what := t.change(tid); what != "" {
			t.steps++
			if t.steps == t.step {
				fmt.Println(what)
				_ = unix.Kill(t.pid, unix.SIGKILL)
			}
		}
	case uint32(status)>>16 != 0: // an event of ptrace's own
		deliver = 0
	}
	_ = ptrace(unix.PTRACE_SYSCALL, tid, 0, deliver)
}

// change says what the thread is about to change; empty when nothing, or when it returns from the call.
func (t *tracer) change(tid int) string {
	if int64(reg(tid, regRAX)) != -int64(unix.ENOSYS) { //nolint:gosec // a register
		return ""
	}
	switch call := reg(tid, regOrigRAX); call {
	case unix.SYS_MOUNT:
		return "mount"
	case unix.SYS_UMOUNT2:
		return "unmount"
	case unix.SYS_UNLINKAT, unix.SYS_UNLINK, unix.SYS_RMDIR:
		return "remove a file"
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_RENAME, unix.SYS_LINKAT, unix.SYS_SYMLINKAT:
		return "rename or link a file"
	case unix.SYS_MKDIRAT, unix.SYS_MKDIR:
		return "make a directory"
	case unix.SYS_OPENAT:
		if reg(tid, regRDX)&unix.O_CREAT != 0 {
			return "create a file"
		}
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		return t.write(int(reg(tid, regRDI))) //nolint:gosec // a descriptor
	case unix.SYS_IOCTL:
		return deviceMapper(reg(tid, regRSI))
	case unix.SYS_CONNECT:
		return "ask a daemon"
	case unix.SYS_CLONE:
		if reg(tid, regRDI)&unix.CLONE_VFORK != 0 {
			return "run a program"
		}
	case unix.SYS_CLONE3, unix.SYS_VFORK:
		return "run a program"
	}
	return ""
}

// write names the file of the kernel, the configuration or the state that is written to.
func (t *tracer) write(fd int) string {
	to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, fd))
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "/dev/") || strings.HasSuffix(to, ".log") {
		return ""
	}
	return "write to " + filepath.Base(to)
}

// deviceMapper names those of device-mapper's commands that change anything (include/uapi/linux/dm-ioctl.h).
func deviceMapper(cmd uint64) string {
	if cmd>>8&0xff != 0xfd {
		return ""
	}
	return map[uint64]string{
		3: "create a map", 4: "remove a map", 6: "resume a map", 9: "load a table", 14: "send a message to a map",
	}[cmd&0xff]
}

func reg(tid, n int) uint64 {
	var word uint64
	_, _, _ = unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_PEEKUSR, uintptr(tid), uintptr(n*8), uintptr(unsafe.Pointer(&word)), 0, 0)
	return word
}

func ptrace(request, tid int, addr, data uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
