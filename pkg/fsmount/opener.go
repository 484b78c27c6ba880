package fsmount

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// opener finds a process, other than this one, that has the device open to write; 0 when there is none. After a SIGKILL
// of this program its mkfs may live on, and not each mkfs opens the device exclusively. Readers, such as udev's rules,
// do not matter. Processes that end meanwhile count as closed.
func opener(device *os.File) (int, error) {
	var want unix.Stat_t
	if err := unix.Fstat(int(device.Fd()), &want); err != nil {
		return 0, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && hasOpen(e.Name(), want) {
			return pid, nil
		}
	}
	return 0, nil
}

// hasOpen says whether a process has a descriptor of this file or device that it may write to.
func hasOpen(pid string, want unix.Stat_t) bool {
	dir := "/proc/" + pid + "/fd/"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Stat(dir+e.Name(), &st) == nil && sameFile(st, want) && writable(pid, e.Name()) {
			return true
		}
	}
	return false
}

// writable reads a descriptor's flags, octal, from its fdinfo (proc_pid_fdinfo(5)). What cannot be read counts.
func writable(pid, fd string) bool {
	info, err := os.ReadFile("/proc/" + pid + "/fdinfo/" + fd)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, rest, ok := strings.Cut(string(info), "flags:\t")
	line, _, _ := strings.Cut(rest, "\n")
	flags, parseErr := strconv.ParseUint(line, 8, 32)
	return err != nil || !ok || parseErr != nil || flags&unix.O_ACCMODE != unix.O_RDONLY
}

// sameFile compares device nodes by number, of which there may be several, and plain files by inode.
func sameFile(a, b unix.Stat_t) bool {
	if a.Mode&unix.S_IFMT != b.Mode&unix.S_IFMT {
		return false
	}
	if a.Mode&unix.S_IFMT == unix.S_IFBLK {
		return a.Rdev == b.Rdev
	}
	return a.Dev == b.Dev && a.Ino == b.Ino
}
