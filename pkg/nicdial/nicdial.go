// Package nicdial connects from a NIC as open-iscsi's bound sessions do.
package nicdial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dial connects to a portal through a NIC (SO_BINDTODEVICE). The error says why there is no connection, and not whose.
func Dial(ctx context.Context, nic string, portal netip.AddrPort) (*net.TCPConn, error) {
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var bindErr error
		err := raw.Control(func(fd uintptr) { bindErr = unix.BindToDevice(int(fd), nic) })
		return errors.Join(err, bindErr)
	}}
	conn, err := dialer.DialContext(ctx, "tcp", portal.String())
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%T is no TCP connection", conn), conn.Close())
	}
	return tcp, nil
}
