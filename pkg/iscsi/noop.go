package iscsi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// What the kernel's include/scsi/iscsi_if.h calls ISCSI_UEVENT_SET_PARAM, ISCSI_PARAM_PING_TMO and ISCSI_PARAM_RECV_TMO, and the size
// of struct iscsi_uevent.
const (
	eventSetParam    = 16
	paramPingTimeout = 30
	paramRecvTimeout = 31
	eventSize        = 56
)

// answerTime bounds the wait for the kernel's answer, which is there when the request has been sent.
const answerTime = time.Second

// KeepNoop has a session that exists send NOP-Outs, and wait for answers, as t says. The kernel takes it at once, and the session goes
// on. iscsid knows nothing of it: after the next loss it logs in with what it read from the record once, so who wants it kept calls
// again. A session without a connection is left alone, and is no error. changed says that it was otherwise before.
func (c *Client) KeepNoop(_ context.Context, session int, t Timers) (changed bool, err error) {
	name := strconv.Itoa(session)
	dir := filepath.Join(c.sys, "class", "iscsi_connection", "connection"+name+":0")
	for _, p := range []struct {
		file  string
		param uint32
		want  time.Duration
	}{
		{"recv_tmo", paramRecvTimeout, t.NoopInterval},
		{"ping_tmo", paramPingTimeout, t.NoopTimeout},
	} {
		want := strconv.Itoa(int(p.want / time.Second))
		have, err := attribute(dir, p.file)
		if err != nil || have == want {
			continue // without a file there is no session
		}
		err = c.setParam(session, p.param, want)
		if _, gone := attribute(dir, p.file); gone != nil || errors.Is(err, unix.ENOTCONN) {
			return changed, nil //nolint:nilerr // the session went away, or its connection did
		}
		if err != nil {
			return changed, wrap(fmt.Sprintf("set %s of session %d to %s s", p.file, session, want), NodeID{}, err)
		}
		changed = true
	}
	return changed, nil
}

// setParam asks the kernel as iscsid does.
func (c *Client) setParam(session int, param uint32, value string) error {
	handle, err := c.transport()
	if err != nil {
		return err
	}
	answer, err := c.kernel(setParamRequest(handle, uint32(session), param, value)) //nolint:gosec // a number of the kernel's
	if err != nil {
		return err
	}
	return answered(answer)
}

// transport is the kernel's name of iscsi_tcp.
func (c *Client) transport() (uint64, error) {
	text, err := attribute(filepath.Join(c.sys, "class", "iscsi_transport", "tcp"), "handle")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// setParamRequest is a netlink message: struct nlmsghdr, struct iscsi_uevent, and the value as a string of C.
func setParamRequest(handle uint64, session, param uint32, value string) []byte {
	length := unix.SizeofNlMsghdr + eventSize + len(value) + 1
	b := make([]byte, (length+unix.NLMSG_ALIGNTO-1)/unix.NLMSG_ALIGNTO*unix.NLMSG_ALIGNTO)
	native := binary.NativeEndian
	native.PutUint32(b, uint32(length)) //nolint:gosec // small
	native.PutUint16(b[4:], eventSetParam)
	event := b[unix.SizeofNlMsghdr:]
	native.PutUint32(event, eventSetParam)
	native.PutUint64(event[8:], handle)
	native.PutUint32(event[16:], session)
	native.PutUint32(event[24:], param)
	native.PutUint32(event[28:], uint32(len(value)+1)) //nolint:gosec // small
	copy(event[eventSize:], value)
	return b
}

// answered reads the kernel's answer, which is the event of the request: of another type, and with an error, when it was refused.
func answered(answer []byte) error {
	if len(answer) < unix.SizeofNlMsghdr+eventSize {
		return fmt.Errorf("an answer of %d bytes", len(answer))
	}
	event := answer[unix.SizeofNlMsghdr:]
	if number := int32(binary.NativeEndian.Uint32(event[4:])); number < 0 { //nolint:gosec // the kernel's int
		return unix.Errno(-number)
	}
	if kind := binary.NativeEndian.Uint32(event); kind != eventSetParam {
		return fmt.Errorf("an answer of type %d", kind)
	}
	return nil
}

// askKernel sends a request to the kernel's iSCSI and gives its answer.
func askKernel(request []byte) ([]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ISCSI)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	patience := unix.NsecToTimeval(answerTime.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, err
	}
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	answer := make([]byte, unix.SizeofNlMsghdr+2*eventSize)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	return answer[:max(0, n)], err
}
