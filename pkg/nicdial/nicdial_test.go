package nicdial

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDial(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	portal := netip.MustParseAddrPort(listener.Addr().String())
	conn, err := Dial(t.Context(), "lo", portal)
	if errors.Is(err, unix.EPERM) {
		t.Skip("no binding to devices here: ", err)
	}
	if err != nil || conn.Close() != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if _, err := Dial(t.Context(), "lo", portal); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := Dial(t.Context(), "nosuchnic", portal); !errors.Is(err, unix.ENODEV) {
		t.Errorf("bound to a NIC that is not there: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ended, "lo", portal); err == nil {
		t.Error("dialled after the end")
	}
}
