// Package tcpcut ends TCP connections whose sockets belong to other processes, here those that iscsid made and the kernel
// uses: at once, for the side that is told, and without the peer. A connection is named by its addresses and by the
// device that its socket is bound to, so that no other one can be hit.
package tcpcut

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrNoSocket says that there is no such connection, or not any more.
	ErrNoSocket = errors.New("no such connection")
	// ErrUnsupported says that this kernel offers no way to do it.
	ErrUnsupported = errors.New("this kernel cannot end other processes' connections")
)

// Conn names a connection.
type Conn struct {
	Local, Remote netip.AddrPort
	// Device is the index of the network device that the socket is bound to (SO_BINDTODEVICE).
	Device int
}

// Method is how connections are ended.
type Method string

const (
	// SockDestroy asks the kernel, as `ss -K` does: CONFIG_INET_DIAG_DESTROY.
	SockDestroy Method = "sock_destroy"
	// Pidfd borrows the socket from the process that has it and disconnects it: pidfd_getfd(2), Linux 5.6.
	Pidfd Method = "pidfd"
	// None is neither.
	None Method = "none"
)

// Options of a Cutter.
type Options struct {
	// Proc is where procfs is mounted, with the processes of the host in it.
	Proc string
	// Owner is the name of the program that has the sockets, as in /proc/PID/comm.
	Owner string
}

// Cutter ends connections. Safe for concurrent use.
type Cutter struct {
	method Method
	cut    func(Conn) error
}

// New finds out what this kernel can do by doing it to a connection of its own over the loopback. The Cutter is usable in any
// case; err says why the better ways are not open.
func New(ctx context.Context, o Options) (c *Cutter, err error) {
	if err = try(ctx, destroy); err == nil {
		return &Cutter{SockDestroy, destroy}, nil
	}
	errs := []error{fmt.Errorf("SOCK_DESTROY: %w", err)}
	if err = tryPidfd(); err == nil {
		b := &borrower{Options: o}
		b.find()
		return &Cutter{Pidfd, b.cut}, errs[0]
	}
	errs = append(errs, fmt.Errorf("pidfd_getfd: %w", err))
	return &Cutter{None, func(Conn) error { return ErrUnsupported }}, errors.Join(errs...)
}

// Method says how.
func (c *Cutter) Method() Method { return c.method }

// Cut ends a connection: ErrNoSocket when there is none, ErrUnsupported when the kernel cannot. The owner sees it as an error
// of the connection.
func (c *Cutter) Cut(conn Conn) error {
	if err := c.cut(conn); err != nil {
		return fmt.Errorf("cut %s - %s: %w", conn.Local, conn.Remote, err)
	}
	return nil
}
