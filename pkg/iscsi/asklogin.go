package iscsi

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/portbind/portbind/pkg/nicdial"
)

// What a login PDU is made of (RFC 7143, sections 11.12 and 11.13).
const (
	bhsLength     = 48
	opLogin       = 0x43 // immediate, Login Request
	opLoginAnswer = 0x23
	// toOperational asks to go from the security stage to the operational one (T=1, CSG=0, NSG=1).
	toOperational = 0x81
	// isidRandom is the format of an ISID without a registered naming authority.
	isidRandom = 0x80

	// statusInitiator is the status class of refusals; the details below say that the initiator, or the target, is not known
	// any more. Others, like a failed authentication, are not about that.
	statusInitiator      = 0x02
	detailAuthentication = 0x01
	detailNotAuthorized  = 0x02
	detailNotFound       = 0x03
	detailRemoved        = 0x04
)

// ErrDenied is that the target does not know the initiator, or the portal not the target.
var ErrDenied = errors.New("access denied by the target")

// Asking names what AskLogin asks about.
type Asking struct {
	NIC               string
	Portal            netip.AddrPort
	Initiator, Target string
}

// AskLogin sends the first PDU of a login from a NIC, bound as a session would be, and hangs up after the answer: no
// session comes of it, and an existing one is not touched. ErrDenied when the target declines because it has nothing for
// this initiator, nil for any other answer, a redirect too, else what Probe returns.
func AskLogin(ctx context.Context, ask Asking) error {
	_, err := askPortal(ctx, ask)
	return err
}

// reply is the answer to the first PDU of a login.
type reply struct {
	class byte
	keys  map[string]string
}

// askPortal gives one portal's answer. The error is of the connection, or ErrDenied.
func askPortal(ctx context.Context, ask Asking) (reply, error) {
	conn, err := dialFrom(ctx, ask.NIC, ask.Portal)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := conn.Write(loginRequest(ask)); err != nil {
		return reply{}, fmt.Errorf("ask %s from %s: %w: %w", ask.Portal, ask.NIC, ErrUnreachable, err)
	}
	head := make([]byte, bhsLength)
	if _, err := io.ReadFull(conn, head); err != nil {
		return reply{}, fmt.Errorf("ask %s from %s: %w: %w", ask.Portal, ask.NIC, ErrTimeout, errors.Join(ctx.Err(), err))
	}
	if head[0]&0x3f != opLoginAnswer {
		return reply{}, nil // no iSCSI target, or a confused one: nothing to build on
	}
	text := make([]byte, min(int(head[5])<<16|int(head[6])<<8|int(head[7]), maxLoginText))
	n, _ := io.ReadFull(conn, text) // what is cut off says less
	return reply{class: head[36], keys: parseKeys(text[:n])}, verdictOf(head)
}

// loginRequest asks for a session of its own: the ISID is random, so that no session is reinstated.
func loginRequest(ask Asking) []byte {
	text := "InitiatorName=" + ask.Initiator + "\x00TargetName=" + ask.Target + "\x00SessionType=Normal\x00AuthMethod=None,CHAP\x00"
	padded := (len(text) + 3) &^ 3
	pdu := make([]byte, bhsLength+padded)
	pdu[0], pdu[1] = opLogin, toOperational
	binary.BigEndian.PutUint32(pdu[4:], uint32(len(text))) //nolint:gosec // names are short; TotalAHSLength, the first byte, is 0
	_, _ = rand.Read(pdu[8:14])                            // never fails
	pdu[8] = isidRandom
	copy(pdu[bhsLength:], text)
	return pdu
}

func verdictOf(answer []byte) error {
	class, detail := answer[36], answer[37]
	if class != statusInitiator {
		return nil
	}
	switch detail {
	case detailNotAuthorized, detailNotFound, detailRemoved:
		return fmt.Errorf("%w: login status 0x%02x%02x", ErrDenied, class, detail)
	}
	return nil
}

// dialFrom connects from a NIC as a session would.
func dialFrom(ctx context.Context, nic string, portal netip.AddrPort) (*net.TCPConn, error) {
	conn, err := nicdial.Dial(ctx, nic, portal)
	if err == nil {
		return conn, nil
	}
	sentinel := ErrUnreachable
	if timedOut(err) {
		sentinel = ErrTimeout
	}
	return nil, fmt.Errorf("probe %s from %s: %w: %w", portal, nic, sentinel, err)
}
