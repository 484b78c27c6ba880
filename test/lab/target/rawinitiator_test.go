//go:build lab

package target

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// rawInitiator is an iSCSI initiator of one connection (RFC 7143) that can do what no well-behaved one does: leave a
// write waiting for its data.
type rawInitiator struct {
	t      *testing.T
	conn   net.Conn
	lun    uint8
	cmdSN  uint32
	statSN uint32
	itt    uint32
	mu     sync.Mutex
}

const (
	opLoginRequest = 0x43 // with the immediate bit
	opCommand      = 0x01
	opDataOut      = 0x05
	opNopOut       = 0x40
	opLoginReply   = 0x23
	opReply        = 0x21
	opR2T          = 0x31
	opNopIn        = 0x20
	flagFinal      = 0x80
	flagWrite      = 0x20
	simpleTask     = 0x01
	sector         = 512
)

// pdu is a basic header segment and its data.
type pdu struct {
	head [48]byte
	data []byte
}

func (p *pdu) op() byte     { return p.head[0] & 0x3f }
func (p *pdu) ttt() uint32  { return binary.BigEndian.Uint32(p.head[20:]) }
func (p *pdu) status() byte { return p.head[3] }

// login opens a session. The ACL must let it in without CHAP.
func login(t *testing.T, portal, target, initiator string, lun uint32) *rawInitiator {
	t.Helper()
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(portal, "3260"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &rawInitiator{t: t, conn: conn, lun: uint8(lun), cmdSN: 1, itt: 1}
	var p pdu
	p.head[0], p.head[1] = opLoginRequest, 0x80|1<<2|3 // transit, from operational negotiation to full feature phase
	copy(p.head[8:], []byte{0x80, 0, 0, 0, 1, 0})      // ISID, random format
	binary.BigEndian.PutUint32(p.head[24:], r.cmdSN)
	p.data = []byte("InitiatorName=" + initiator + "\x00TargetName=" + target + "\x00SessionType=Normal\x00InitialR2T=Yes\x00" +
		"ImmediateData=No\x00HeaderDigest=None\x00DataDigest=None\x00DefaultTime2Wait=0\x00DefaultTime2Retain=0\x00" +
		"ErrorRecoveryLevel=0\x00MaxBurstLength=1048576\x00FirstBurstLength=65536\x00MaxOutstandingR2T=1\x00MaxConnections=1\x00DataPDUInOrder=Yes\x00DataSequenceInOrder=Yes\x00MaxRecvDataSegmentLength=65536\x00")
	r.send(&p)
	reply, err := r.receive()
	if err != nil || reply.op() != opLoginReply || reply.head[36] != 0 || reply.head[1]&0x80 == 0 {
		t.Fatalf("login as %s: %v, reply % x, %q", initiator, err, reply.head, reply.data)
	}
	r.clearAttentions()
	return r
}

func (r *rawInitiator) send(p *pdu) {
	p.head[5], p.head[6], p.head[7] = byte(len(p.data)>>16), byte(len(p.data)>>8), byte(len(p.data))
	binary.BigEndian.PutUint32(p.head[28:], r.statSN)
	if p.head[0] == opLoginRequest || p.head[0]&0x3f == opCommand {
		binary.BigEndian.PutUint32(p.head[16:], r.itt)
	}
	pad := (4 - len(p.data)%4) % 4
	r.mu.Lock()
	defer r.mu.Unlock()
	// A connection that the target has dropped is what some tests are about: errors show in receive.
	_, _ = r.conn.Write(append(append(p.head[:], p.data...), make([]byte, pad)...))
}

// receive returns the next PDU, answering the target's pings.
func (r *rawInitiator) receive() (*pdu, error) {
	for {
		var p pdu
		if _, err := io.ReadFull(r.conn, p.head[:]); err != nil {
			return &p, err
		}
		n := int(p.head[5])<<16 | int(p.head[6])<<8 | int(p.head[7])
		p.data = make([]byte, (n+3)/4*4)
		if _, err := io.ReadFull(r.conn, p.data); err != nil {
			return &p, err
		}
		if sn := binary.BigEndian.Uint32(p.head[24:]); p.op() != opR2T {
			r.statSN = sn + 1
		}
		if p.op() != opNopIn || p.ttt() == 0xffffffff {
			return &p, nil
		}
		var pong pdu
		pong.head[0], pong.head[1] = opNopOut, flagFinal
		binary.BigEndian.PutUint32(pong.head[16:], 0xffffffff)
		copy(pong.head[20:24], p.head[20:24])
		r.send(&pong)
	}
}

// command sends a SCSI command of that many bytes of data to write.
func (r *rawInitiator) command(cdb []byte, write uint32) {
	var p pdu
	p.head[0], p.head[1] = opCommand, flagFinal|simpleTask
	if write > 0 {
		p.head[1] |= flagWrite
	}
	p.head[9] = r.lun
	r.itt++
	binary.BigEndian.PutUint32(p.head[20:], write)
	binary.BigEndian.PutUint32(p.head[24:], r.cmdSN)
	r.cmdSN++
	copy(p.head[32:], cdb)
	r.send(&p)
}

// clearAttentions sends TEST UNIT READY until it is good: a new session is told of a power-on first.
func (r *rawInitiator) clearAttentions() {
	r.t.Helper()
	for range 10 {
		r.command(make([]byte, 6), 0)
		reply, err := r.receive()
		if err != nil {
			r.t.Fatal(err)
		}
		if reply.op() == opReply && reply.status() == 0 {
			return
		}
	}
	r.t.Fatal("the LUN is never ready")
}

// beginWrite sends a WRITE(10) and waits until the target asks for its data.
func (r *rawInitiator) beginWrite(lba uint32, length uint32) *pdu {
	r.t.Helper()
	cdb := make([]byte, 10)
	cdb[0] = 0x2a
	binary.BigEndian.PutUint32(cdb[2:], lba)
	binary.BigEndian.PutUint16(cdb[7:], uint16(length/sector))
	r.command(cdb, length)
	r2t, err := r.receive()
	if err != nil || r2t.op() != opR2T {
		r.t.Fatalf("no R2T: %v, % x", err, r2t.head)
	}
	return r2t
}

// sendData answers an R2T with a part of its data.
func (r *rawInitiator) sendData(r2t *pdu, sn, offset uint32, data []byte, final bool) {
	var p pdu
	p.head[0] = opDataOut
	if final {
		p.head[1] = flagFinal
	}
	p.head[9] = r.lun
	copy(p.head[16:24], r2t.head[16:24])
	binary.BigEndian.PutUint32(p.head[36:], sn)
	binary.BigEndian.PutUint32(p.head[40:], offset)
	p.data = data
	r.send(&p)
}

// write writes one block and returns the outcome.
func (r *rawInitiator) write(lba uint32, fill byte) error {
	cdb := make([]byte, 10)
	cdb[0], cdb[8] = 0x2a, 1
	binary.BigEndian.PutUint32(cdb[2:], lba)
	r.command(cdb, sector)
	for {
		p, err := r.receive()
		switch {
		case err != nil:
			return err
		case p.op() == opR2T:
			r.sendData(p, 0, 0, bytes.Repeat([]byte{fill}, sector), true)
		case p.op() == opReply && p.status() == 0:
			return nil
		case p.op() == opReply:
			return fmt.Errorf("status %#x, data % x", p.status(), p.data)
		}
	}
}
