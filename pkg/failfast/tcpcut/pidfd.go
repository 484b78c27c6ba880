package tcpcut

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tryPidfd borrows a descriptor from ourselves.
func tryPidfd() error {
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(pidfd) }()
	fd, err := unix.PidfdGetfd(pidfd, pidfd, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// borrower ends connections through their owner's descriptors.
type borrower struct {
	Options

	mu sync.Mutex
	// pids are the owner's processes, as last seen. Looking for them means to read the names of all.
	pids []int
}

// cut looks through all descriptors of the owner's processes: iscsid is two, with few of them.
func (o *borrower) cut(c Conn) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, look := range []func(){func() {}, o.find} {
		look()
		errs = nil
		for _, pid := range o.pids {
			found, err := o.cutOf(pid, c)
			if found {
				return err
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, ErrNoSocket)...)
}

// find looks for the owner's processes.
func (o *borrower) find() {
	o.pids = nil
	names, _ := os.ReadDir(o.Proc)
	for _, name := range names {
		if pid, err := strconv.Atoi(name.Name()); err == nil && o.isOwner(pid) {
			o.pids = append(o.pids, pid)
		}
	}
}

func (o *borrower) isOwner(pid int) bool {
	name, err := os.ReadFile(filepath.Join(o.Proc, strconv.Itoa(pid), "comm"))
	return err == nil && strings.TrimSpace(string(name)) == o.Owner
}

// cutOf does so for one process. Its name is read again when its number can no longer become another's.
func (o *borrower) cutOf(pid int, c Conn) (found bool, err error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	if !o.isOwner(pid) {
		return false, nil
	}
	numbers, err := os.ReadDir(filepath.Join(o.Proc, strconv.Itoa(pid), "fd"))
	if err != nil {
		return false, err
	}
	var errs []error
	for _, n := range numbers {
		found, err := cutIf(pidfd, n.Name(), c)
		if found {
			return true, err
		}
		errs = append(errs, err)
	}
	return false, errors.Join(errs...)
}

// cutIf borrows one descriptor and ends the connection if it is the one.
func cutIf(pidfd int, name string, c Conn) (found bool, err error) {
	number, err := strconv.Atoi(name)
	if err != nil {
		return false, err
	}
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if errors.Is(err, unix.EBADF) {
		return false, nil // closed meanwhile
	}
	if err != nil {
		return false, fmt.Errorf("descriptor %d: %w", number, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !is(fd, c) {
		return false, nil
	}
	return true, disconnect(fd)
}

// is says whether a descriptor is the socket of a connection.
func is(fd int, c Conn) bool {
	local, errLocal := unix.Getsockname(fd)
	remote, errRemote := unix.Getpeername(fd)
	device, errDevice := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	return errLocal == nil && errRemote == nil && errDevice == nil &&
		addrPort(local) == c.Local && addrPort(remote) == c.Remote && device == c.Device
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)) //nolint:gosec // 16 bits
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)) //nolint:gosec // 16 bits
	}
	return netip.AddrPort{}
}

// disconnect resets a connection, which whoever sends on it notices (tcp_disconnect), and then wakes whoever only waits, the
// kernel's initiator for one: shutdown tells of the state even of a socket that is closed (inet_shutdown), and says ENOTCONN.
func disconnect(fd int) error {
	unspec := unix.RawSockaddrAny{Addr: unix.RawSockaddr{Family: unix.AF_UNSPEC}}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), unix.SizeofSockaddrInet4)
	if errno != 0 {
		return errno
	}
	if err := unix.Shutdown(fd, unix.SHUT_RDWR); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return err
	}
	return nil
}
