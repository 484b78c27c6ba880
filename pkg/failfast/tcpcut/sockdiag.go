package tcpcut

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// request is struct inet_diag_req_v2 of linux/inet_diag.h.
type request Conn

const requestSize = 56

// Len implements nl.NetlinkRequestData.
func (request) Len() int { return requestSize }

// Serialize implements nl.NetlinkRequestData. Ports and addresses are in network order, the rest in the machine's.
func (r request) Serialize() []byte {
	b := make([]byte, requestSize)
	b[0], b[1] = unix.AF_INET, unix.IPPROTO_TCP
	if r.Local.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	binary.BigEndian.PutUint16(b[8:], r.Local.Port())
	binary.BigEndian.PutUint16(b[10:], r.Remote.Port())
	copy(b[12:], r.Local.Addr().AsSlice())
	copy(b[28:], r.Remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[44:], uint32(r.Device)) //nolint:gosec // an interface index
	binary.NativeEndian.PutUint64(b[48:], ^uint64(0))       // no cookie: whichever socket has these addresses
	return b
}

// destroy is SOCK_DESTROY for exactly one socket. The kernel looks it up as an incoming packet: without the device a bound
// socket is not found.
func destroy(c Conn) error {
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddData(request(c))
	_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return ErrNoSocket
	case errors.Is(err, unix.EOPNOTSUPP):
		return ErrUnsupported
	}
	return err
}

// try ends a connection of our own.
func try(ctx context.Context, cut func(Conn) error) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", l.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return err
	}
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return err
	}
	return cut(Conn{Local: local, Remote: remote})
}
