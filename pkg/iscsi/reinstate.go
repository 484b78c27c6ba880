package iscsi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

const (
	// opLoginAnswer's second byte: T, C, CSG and NSG (RFC 7143, section 11.13).
	flagTransit  = 0x80
	flagContinue = 0x40
	stageMask    = 0x03

	securityStage    = 0
	operationalStage = 1
	fullFeature      = 3

	// maxLoginText is what a login PDU may carry, since no other length was negotiated (RFC 7143, section 13.12).
	maxLoginText = 8192
	// maxExchanges ends a login that leads nowhere.
	maxExchanges = 12
)

// operationalKeys want nothing of the session: it is never used. DefaultTime2Retain=0 has the target forget it with its connection.
var operationalKeys = []string{
	"HeaderDigest=None", "DataDigest=None", "MaxConnections=1", "InitialR2T=Yes", "ImmediateData=No",
	"MaxRecvDataSegmentLength=8192", "MaxBurstLength=8192", "FirstBurstLength=8192", "MaxOutstandingR2T=1",
	"DefaultTime2Wait=0", "DefaultTime2Retain=0", "DataPDUInOrder=Yes", "DataSequenceInOrder=Yes", "ErrorRecoveryLevel=0",
}

// discoveryKeys are those that concern a session without commands.
var discoveryKeys = []string{
	"HeaderDigest=None", "DataDigest=None", "MaxRecvDataSegmentLength=8192", "DefaultTime2Wait=0", "DefaultTime2Retain=0",
	"ErrorRecoveryLevel=0",
}

// Reinstatement names a session that is to be ended at the target.
type Reinstatement struct {
	// Asking says from where and to whom; the portal must be of the session's portal group.
	Asking

	// ISID is what it logged in with.
	ISID ISID
	CHAP *CHAP // nil where the target asks for none
}

// Reinstate ends a session at the target without its own connection, which may lead nowhere: it logs in with the same ISID,
// for which the target must end the old session, all tasks of which are over before it answers (RFC 7143, section 6.3.5), and
// hangs up. When it returns nil, nothing that was sent on the old connection can be acted upon any more. Errors wrap
// ErrUnreachable, ErrTimeout, ErrDenied, ErrAuth or ErrRefused, and then nothing is known.
func Reinstate(ctx context.Context, r Reinstatement) error {
	conn, err := dialFrom(ctx, r.NIC, r.Portal)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	l := login{conn: conn, isid: r.ISID, auth: authentication{chap: r.CHAP}}
	if err := l.run(r.Asking); err != nil {
		return fmt.Errorf("reinstate session %x at %s from %s: %w", r.ISID, r.Portal, r.NIC, errors.Join(err, ctx.Err()))
	}
	return nil
}

// login is one under way.
type login struct {
	conn  net.Conn
	isid  ISID
	auth  authentication
	stage byte
	// discovery asks for a session that knows no target and carries no commands.
	discovery bool
	// securityOnly ends it with the security stage.
	securityOnly bool
	// expStatSN is the number that the target's next answer should have.
	expStatSN uint32
}

// answer is what the target said.
type answer struct {
	flags byte
	keys  map[string]string
}

// goes says where it leads, if it leads on.
func (a answer) goes() (stage byte, on bool) { return a.flags & stageMask, a.flags&flagTransit != 0 }

func (l *login) run(who Asking) error {
	keys := append(l.introduce(who), l.auth.offer())
	next := byte(operationalStage | flagTransit)
	if l.auth.chap != nil {
		next = operationalStage // only once it is done
	}
	for range maxExchanges {
		a, err := l.exchange(next, keys)
		if err != nil {
			return err
		}
		to, on := a.goes()
		switch {
		case on && to == fullFeature:
			return nil
		case l.stage == securityStage && on:
			if err := l.auth.accept(a.keys); err != nil || l.securityOnly {
				return err
			}
			l.stage, next, keys = operationalStage, fullFeature|flagTransit, l.operational()
		case l.stage == securityStage:
			if keys, err = l.auth.reply(a.keys); err != nil {
				return err
			}
			next = operationalStage
			if l.auth.done {
				next |= flagTransit
			}
		default:
			keys = nil // the target has more to say
		}
	}
	return fmt.Errorf("%w: no end after %d exchanges", ErrRefused, maxExchanges)
}

func (l *login) introduce(who Asking) []string {
	if l.discovery {
		return []string{"InitiatorName=" + who.Initiator, "SessionType=Discovery"}
	}
	return []string{"InitiatorName=" + who.Initiator, "TargetName=" + who.Target, "SessionType=Normal"}
}

func (l *login) operational() []string {
	if l.discovery {
		return discoveryKeys
	}
	return operationalKeys
}

func (l *login) exchange(next byte, keys []string) (answer, error) {
	if _, err := l.conn.Write(l.request(next, keys)); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	head := make([]byte, bhsLength)
	if _, err := io.ReadFull(l.conn, head); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	if err := statusOf(head); err != nil {
		return answer{}, err
	}
	length := int(head[5])<<16 | int(head[6])<<8 | int(head[7])
	if length > maxLoginText || head[4] != 0 || head[1]&flagContinue != 0 {
		return answer{}, fmt.Errorf("%w: an answer of %d bytes, flags 0x%02x", ErrRefused, length, head[1])
	}
	text := make([]byte, (length+3)&^3)
	if _, err := io.ReadFull(l.conn, text); err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	l.expStatSN = binary.BigEndian.Uint32(head[24:]) + 1
	return answer{head[1], parseKeys(text[:length])}, nil
}

// request makes a PDU. TSIH is 0, which with a known ISID is what reinstates a session.
func (l *login) request(next byte, keys []string) []byte {
	text := strings.Join(keys, "\x00")
	if len(keys) > 0 {
		text += "\x00"
	}
	pdu := make([]byte, bhsLength+(len(text)+3)&^3)
	pdu[0], pdu[1] = opLogin, l.stage<<2|next
	binary.BigEndian.PutUint32(pdu[4:], uint32(len(text))) //nolint:gosec // short; TotalAHSLength, the first byte, is 0
	copy(pdu[8:], l.isid[:])
	binary.BigEndian.PutUint32(pdu[28:], l.expStatSN)
	copy(pdu[bhsLength:], text)
	return pdu
}

// statusOf reads how the target takes a login.
func statusOf(head []byte) error {
	class, detail := head[36], head[37]
	switch {
	case head[0]&0x3f != opLoginAnswer:
		return fmt.Errorf("%w: opcode 0x%02x instead of a login response", ErrRefused, head[0])
	case class == 0:
		return nil
	case class == statusInitiator && detail == detailAuthentication:
		return fmt.Errorf("%w: login status 0x%02x%02x", ErrAuth, class, detail)
	}
	if err := verdictOf(head); err != nil {
		return err
	}
	return fmt.Errorf("%w: login status 0x%02x%02x", ErrRefused, class, detail)
}

// parseKeys reads "key=value" pairs, each ended by a NUL.
func parseKeys(text []byte) map[string]string {
	keys := map[string]string{}
	for pair := range strings.SplitSeq(string(text), "\x00") {
		if key, value, ok := strings.Cut(pair, "="); ok {
			keys[key] = value
		}
	}
	return keys
}
