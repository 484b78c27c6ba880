package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// pollInterval is how often a context is looked at while a process is waited for, in milliseconds.
const pollInterval = 100

// WaitForLVM waits for LVM commands on the given volume groups to end that a killed predecessor has left running. What
// they do late would undo what is done now: an lvremove the volume that was made anew under its name.
func (h Host) WaitForLVM(ctx context.Context, groups []string) error {
	processes, err := os.ReadDir(h.path("proc"))
	if err != nil {
		return fmt.Errorf("look for LVM commands: %w", err)
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		// A process that ends meanwhile has no command line any more.
		cmdline, err := os.ReadFile(h.path("proc", p.Name(), "cmdline"))
		if err != nil || !changesGroup(string(cmdline), groups) {
			continue
		}
		klog.FromContext(ctx).Info("Waiting for an LVM command that is still at work", "pid", pid)
		if err := waitFor(ctx, pid); err != nil {
			return fmt.Errorf("wait for LVM command %d: %w", pid, err)
		}
	}
	return nil
}

// changesGroup says whether a command line, as in /proc, is of an LVM command of ours that works on one of the groups.
func changesGroup(cmdline string, groups []string) bool {
	args := strings.Split(cmdline, "\x00")
	if !slices.Contains(tools, filepath.Base(args[0])) {
		return false
	}
	return slices.ContainsFunc(args[1:], func(arg string) bool {
		vg, _, ok := strings.Cut(arg, "/")
		return ok && slices.Contains(groups, vg)
	})
}

// waitFor waits for a process that is not a child.
func waitFor(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for {
		// A pidfd is readable when its process has ended.
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, pollInterval) //nolint:gosec // A file descriptor.
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}
