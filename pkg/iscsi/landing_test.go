package iscsi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// portalOf is a portal that answers every login with a status and these keys.
func portalOf(t *testing.T, class, detail byte, keys func(self string) string) netip.AddrPort {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	text := keys(listener.Addr().String())
	answer := make([]byte, bhsLength+len(text))
	answer[0], answer[7], answer[36], answer[37] = opLoginAnswer, byte(len(text)), class, detail
	copy(answer[bhsLength:], text)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(conn, make([]byte, bhsLength))
			_, _ = conn.Write(answer)
			_ = conn.Close()
		}
	}()
	return netip.MustParseAddrPort(listener.Addr().String())
}

func fixed(text string) func(string) string { return func(string) string { return text } }

func TestFindLanding(t *testing.T) {
	home := portalOf(t, 0, 0, fixed("TargetPortalGroupTag=7\x00"))
	shut := portalOf(t, statusInitiator, detailNotFound, fixed(""))
	moved := func(to string) netip.AddrPort {
		return portalOf(t, statusRedirect, 1, fixed("TargetAddress="+to+"\x00"))
	}
	direct := moved(home.String() + ",7")
	nowhere, dead := moved("array.example.com:3260"), moved("127.0.0.1:9")
	circle := portalOf(t, statusRedirect, 1, func(self string) string { return "TargetAddress=" + self + "\x00" })
	for _, c := range []struct {
		name string
		ask  netip.AddrPort
		want netip.AddrPort
		err  error
	}{
		{"at once", home, home, nil},
		{"redirected", direct, home, nil},
		{"redirected twice", moved(direct.String()), home, nil},
		{"redirected to one that declines", moved(shut.String()), shut, ErrDenied},
		{"redirected to one that is not there", dead, netip.MustParseAddrPort("127.0.0.1:9"), ErrUnreachable},
		{"redirected to a name", nowhere, nowhere, ErrRefused},
		{"redirected in a circle", circle, circle, ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			got, err := FindLanding(ctx, Asking{NIC: "lo", Portal: c.ask, Initiator: "iqn.2026-11.io.example:a", Target: "iqn.2026-11.io.example:t"})
			if err != nil && strings.Contains(err.Error(), "not permitted") {
				t.Skip("no permission to bind to a device: ", err)
			}
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%v, %v; want %v, %v", got, err, c.want, c.err)
			}
		})
	}
}
