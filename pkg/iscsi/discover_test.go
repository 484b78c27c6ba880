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

// answersWith is a portal that lets the initiator in and answers what is asked then with that opcode, flags and text.
func answersWith(t *testing.T, opcode, flags byte, text string) (netip.AddrPort, <-chan []byte) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	list := turn{flags, text}.pdu()
	list[0] = opcode
	asked := make(chan []byte, 3)
	go func() {
		defer close(asked)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		for _, answer := range [][]byte{turn{toOperational, "AuthMethod=None\x00"}.pdu(), turn{toEnd, ""}.pdu(), list} {
			head := make([]byte, bhsLength)
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			rest := make([]byte, (int(head[6])<<8|int(head[7])+3)&^3)
			_, _ = io.ReadFull(conn, rest)
			asked <- slices.Concat(head, rest)
			_, _ = conn.Write(answer)
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String()), asked
}

func TestDiscover(t *testing.T) {
	const target = "iqn.2026-11.io.example:t"
	list := "TargetName=" + target + "\x00TargetAddress=10.99.0.1:3260,1\x00TargetAddress=10.99.0.2:3260,1\x00"
	for _, c := range []struct {
		name          string
		opcode, flags byte
		text          string
		want          int
		err           error
	}{
		{"two portals", opTextAnswer, flagFinal, list, 2, nil},
		{"none", opTextAnswer, flagFinal, "", 0, nil},
		{"more to come", opTextAnswer, flagContinue, list, 0, ErrRefused},
		{"a reject", 0x3f, flagFinal, "", 0, ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			portal, asked := answersWith(t, c.opcode, c.flags, c.text)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			got, err := Discover(ctx, Asking{NIC: "lo", Portal: portal, Initiator: "iqn.2026-11.io.example:a", Target: target})
			if err != nil && strings.Contains(err.Error(), "not permitted") {
				t.Skip("no permission to bind to a device: ", err)
			}
			if len(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%v, %v", got, err)
			}
			for _, want := range []string{"SessionType=Discovery\x00", "MaxRecvDataSegmentLength=", "SendTargets=" + target + "\x00"} {
				if pdu := <-asked; !bytes.Contains(pdu, []byte(want)) || bytes.Contains(pdu, []byte("TargetName=")) {
					t.Errorf("asked %q, want %q in it", pdu, want)
				}
			}
		})
	}
}

func TestPortalsOf(t *testing.T) {
	const target = "iqn.2026-11.io.example:t"
	answer := strings.Join([]string{
		"TargetName=iqn.2026-11.io.example:other", "TargetAddress=10.0.0.9:3260,1",
		"TargetName=" + target, "TargetAddress=10.99.0.1:3260,1", "TargetAddress=[2001:db8::1]:3261,1", "TargetAddress=10.99.0.1:3260,2",
		"TargetAddress=array.example.com:3260,1", "TargetAddress=", "",
	}, "\x00")
	want := []netip.AddrPort{netip.MustParseAddrPort("10.99.0.1:3260"), netip.MustParseAddrPort("[2001:db8::1]:3261")}
	if got := portalsOf([]byte(answer), target); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := portalsOf([]byte("TargetAddress=10.99.0.1:3260,1\x00"), target); got != nil {
		t.Errorf("got %v of no target", got)
	}
}

func FuzzPortalsOf(f *testing.F) {
	f.Add([]byte("TargetName=a\x00TargetAddress=10.99.0.1:3260,1\x00"), "a")
	f.Fuzz(func(t *testing.T, text []byte, target string) {
		if got := portalsOf(text, target); len(got) > maxPortals {
			t.Errorf("%d portals", len(got))
		}
	})
}
