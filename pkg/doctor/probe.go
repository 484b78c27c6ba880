package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/nicdial"
	"github.com/portbind/portbind/pkg/nodeview"
)

const (
	// connectTime is how long a portal has to answer, frameTime how long a full packet has to be acknowledged: a lost one is
	// sent again three or four times in it.
	connectTime = 3 * time.Second
	frameTime   = 3 * time.Second
)

// pairsOf gives the connections that volumes here, and the given portals, make or would make. A NIC without a link or an
// address is left out.
func pairsOf(s nodeview.Snapshot, portals []netip.AddrPort) []binding.Pair {
	var all []binding.Pair
	add := func(names []string, portals []netip.AddrPort, pairing binding.Pairing) {
		var some []binding.Interface
		for _, i := range s.Interfaces.Interfaces {
			if i.Up && len(i.Addrs) > 0 && (len(names) == 0 || slices.Contains(names, i.Name)) {
				some = append(some, i)
			}
		}
		pairs, err := binding.Matrix(some, portals, pairing)
		if err != nil {
			return // none can reach any: the interfaces' compliance says so
		}
		for _, p := range pairs {
			if !containsPair(all, p) {
				all = append(all, p)
			}
		}
	}
	add(nil, portals, binding.PairingAuto)
	for _, r := range s.Records {
		add(r.Attachment.Interfaces, r.Attachment.Portals, r.Attachment.Pairing)
	}
	return all
}

// probeAll tries all pairs at once.
func probeAll(ctx context.Context, s nodeview.Snapshot, pairs []binding.Pair) []Probe {
	all := make([]Probe, len(pairs))
	var group sync.WaitGroup
	for i, pair := range pairs {
		group.Go(func() {
			all[i] = probe(ctx, pair.Interface.NIC, pair.Portal)
			all[i].Interface, all[i].NICMTU = pair.Interface.Name, s.NICs[pair.Interface.NIC].MTU
		})
	}
	group.Wait()
	return all
}

// probe connects from a NIC, bound as a session would be, and sends one full packet: TCP forbids routers to fragment it, and
// the target's kernel acknowledges it, whatever becomes of what is in it.
func probe(ctx context.Context, nic string, portal netip.AddrPort) Probe {
	p := Probe{NIC: nic, Portal: portal}
	start := time.Now()
	conn, err := dial(ctx, nic, portal)
	p.Took = time.Since(start)
	if err != nil {
		p.Err = err
		return p
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.SyscallConn()
	if err != nil {
		p.FrameErr = err
		return p
	}
	info, err := tcpInfo(raw)
	if err != nil {
		p.FrameErr = err
		return p
	}
	p.Frame = frameSize(info, portal.Addr())
	p.FrameErr = sendFrame(ctx, conn, raw, int(info.Snd_mss))
	if after, err := tcpInfo(raw); err == nil {
		p.PathMTU = int(after.Pmtu)
	}
	return p
}

func dial(ctx context.Context, nic string, portal netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	return nicdial.Dial(ctx, nic, portal)
}

func tcpInfo(raw syscall.RawConn) (info *unix.TCPInfo, err error) {
	controlErr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) })
	return info, errors.Join(controlErr, err)
}

// frameSize is that of a packet with as much data as fits: headers come on top of it.
func frameSize(info *unix.TCPInfo, to netip.Addr) int {
	const (
		tcpHeader, timestamps, usesTimestamps = 20, 12, 1 // TCPI_OPT_TIMESTAMPS
		header4, header6                      = 20, 40
	)
	size := int(info.Snd_mss) + tcpHeader + header4
	if to.Is6() {
		size += header6 - header4
	}
	if info.Options&usesTimestamps != 0 {
		size += timestamps
	}
	return size
}

// sendFrame sends one packet of that much data and waits until it is acknowledged. It is the beginning of a login request,
// of which the target waits for the rest until the connection is closed.
func sendFrame(ctx context.Context, conn *net.TCPConn, raw syscall.RawConn, size int) error {
	ctx, cancel := context.WithTimeout(ctx, frameTime)
	defer cancel()
	data := make([]byte, max(size, 48))
	data[0], data[6] = 0x43, 0x20 // Login Request (RFC 7143, 11.12) with 8 KiB of text
	if _, err := conn.Write(data); err != nil {
		return err
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		left, err := unacknowledged(raw)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no acknowledgement within %v", frameTime)
		case <-ticker.C:
		}
	}
}

// unacknowledged gives how much was sent and not acknowledged. A target that has hung up has got it.
func unacknowledged(raw syscall.RawConn) (left int, err error) {
	controlErr := raw.Control(func(fd uintptr) {
		if code, optErr := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); optErr == nil && code != 0 {
			if code != int(unix.ECONNRESET) && code != int(unix.EPIPE) {
				err = unix.Errno(code)
			}
			return
		}
		left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	return left, errors.Join(controlErr, err)
}

func containsPair(all []binding.Pair, p binding.Pair) bool {
	return slices.ContainsFunc(all, func(q binding.Pair) bool { return q.Interface.Name == p.Interface.Name && q.Portal == p.Portal })
}
