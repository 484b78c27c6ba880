package iscsi

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

// Text Request and Response (RFC 7143, sections 11.10 and 11.11).
const (
	opText       = 0x04
	opTextAnswer = 0x24
	flagFinal    = 0x80
	textTag      = 1          // any number
	noTransfer   = 0xffffffff // reserved Target Transfer Tag
	// maxPortals is how many are taken of one answer.
	maxPortals = 64
)

// Discover asks a portal from a NIC, bound as a session would be, where the target listens: SendTargets in a session of its own,
// of which nothing is left. No record is written and no session of the target touched. Portals that are no addresses are left out.
// Errors are those of Reinstate.
func Discover(ctx context.Context, ask Asking) ([]netip.AddrPort, error) {
	conn, err := dialFrom(ctx, ask.NIC, ask.Portal)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	l := login{conn: conn, discovery: true}
	_, _ = rand.Read(l.isid[:]) // never fails
	l.isid[0] = isidRandom
	err = l.run(ask)
	var text []byte
	if err == nil {
		text, err = l.sendTargets(ask.Target)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s from %s for portals: %w", ask.Portal, ask.NIC, errors.Join(err, ctx.Err()))
	}
	return portalsOf(text, ask.Target), nil
}

// sendTargets gives the answer's text.
func (l *login) sendTargets(target string) ([]byte, error) {
	ask := "SendTargets=" + target + "\x00"
	pdu := make([]byte, bhsLength+(len(ask)+3)&^3)
	pdu[0], pdu[1] = opText, flagFinal
	binary.BigEndian.PutUint32(pdu[4:], uint32(len(ask))) //nolint:gosec // short; TotalAHSLength, the first byte, is 0
	binary.BigEndian.PutUint32(pdu[16:], textTag)
	binary.BigEndian.PutUint32(pdu[20:], noTransfer)
	binary.BigEndian.PutUint32(pdu[28:], l.expStatSN) // the login's CmdSN, 0, is this one's, too
	copy(pdu[bhsLength:], ask)
	if _, err := l.conn.Write(pdu); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	head := make([]byte, bhsLength)
	if _, err := io.ReadFull(l.conn, head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	length := int(head[5])<<16 | int(head[6])<<8 | int(head[7])
	if head[0]&0x3f != opTextAnswer || head[1]&flagFinal == 0 || head[1]&flagContinue != 0 || head[4] != 0 || length > maxLoginText {
		return nil, fmt.Errorf("%w: opcode 0x%02x, flags 0x%02x, %d bytes in place of a list", ErrRefused, head[0], head[1], length)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(l.conn, text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return text, nil
}

// portalsOf reads "TargetName=...", each followed by "TargetAddress=address:port,tag" for its portals, in order and each once.
func portalsOf(text []byte, target string) []netip.AddrPort {
	var all []netip.AddrPort
	named := false
	for pair := range strings.SplitSeq(string(text), "\x00") {
		key, value, _ := strings.Cut(pair, "=")
		switch {
		case key == "TargetName":
			named = value == target
		case key == "TargetAddress" && named && len(all) < maxPortals:
			address, _, _ := strings.Cut(value, ",")
			if p, err := iscsiname.ParsePortal(address); err == nil && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}
