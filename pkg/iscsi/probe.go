package iscsi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Probe says whether a TCP connection from a NIC to a portal can be made before ctx ends, bound as a session would be
// (SO_BINDTODEVICE). The error wraps ErrTimeout when nothing answered, else ErrUnreachable.
func Probe(ctx context.Context, nic string, portal netip.AddrPort) error {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var bindErr error
		err := raw.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), nic) })
		return errors.Join(err, bindErr)
	}}
	conn, err := dialer.DialContext(ctx, "tcp", portal.String())
	if err == nil {
		return conn.Close()
	}
	sentinel := ErrUnreachable
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, unix.ETIMEDOUT) {
		sentinel = ErrTimeout
	}
	return fmt.Errorf("probe %s from %s: %w: %w", portal, nic, sentinel, err)
}
