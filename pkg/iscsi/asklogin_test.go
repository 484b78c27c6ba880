package iscsi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// answering is a portal that answers the first PDU with a login status; it gives what it was sent.
func answering(t *testing.T, class, detail byte) (netip.AddrPort, <-chan []byte) {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	sent := make(chan []byte, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		head := make([]byte, bhsLength)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		length := int(head[5])<<16 | int(head[6])<<8 | int(head[7])
		text := make([]byte, (length+3)&^3)
		_, _ = io.ReadFull(conn, text)
		sent <- slices.Concat(head, text[:length])
		answer := make([]byte, bhsLength)
		answer[0], answer[36], answer[37] = opLoginAnswer, class, detail
		_, _ = conn.Write(answer)
	}()
	return netip.MustParseAddrPort(listener.Addr().String()), sent
}

func TestAskLogin(t *testing.T) {
	for _, c := range []struct {
		name          string
		class, detail byte
		denied        bool
	}{
		{"welcome", 0, 0, false},
		{"moved", 1, 1, false},
		{"wrong secret", 2, 1, false},
		{"not authorized", 2, 2, true},
		{"no such target", 2, 3, true},
		{"target removed", 2, 4, true},
		{"too many connections", 2, 6, false},
		{"service unavailable", 3, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			portal, sent := answering(t, c.class, c.detail)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := AskLogin(ctx, Asking{NIC: "lo", Portal: portal, Initiator: "iqn.2026-11.io.example:a", Target: "iqn.2026-11.io.example:t"})
			if err != nil && strings.Contains(err.Error(), "not permitted") {
				t.Skip("no permission to bind to a device: ", err)
			}
			if errors.Is(err, ErrDenied) != c.denied || (err != nil) != c.denied {
				t.Errorf("got %v", err)
			}
			pdu := <-sent
			for _, want := range []string{"InitiatorName=iqn.2026-11.io.example:a\x00", "TargetName=iqn.2026-11.io.example:t\x00"} {
				if !bytes.Contains(pdu, []byte(want)) {
					t.Errorf("%q is not in %q", want, pdu)
				}
			}
		})
	}
}

func TestAskLoginOfNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := AskLogin(ctx, Asking{NIC: "no-such-nic", Portal: netip.MustParseAddrPort("127.0.0.1:9")})
	if !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrDenied) {
		t.Errorf("got %v", err)
	}
}
