package iscsi

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Probe says whether a TCP connection from a NIC to a portal can be made before ctx ends, bound as a session would be
// (SO_BINDTODEVICE). The error wraps ErrTimeout when nothing answered, else ErrUnreachable.
func Probe(ctx context.Context, nic string, portal netip.AddrPort) error {
	conn, err := dialFrom(ctx, nic, portal)
	if err != nil {
		return err
	}
	return conn.Close()
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, unix.ETIMEDOUT)
}
