package tcpcut

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// self is a Cutter's options for connections of this very process.
func self(t *testing.T) Options {
	t.Helper()
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return Options{Proc: "/proc", Owner: strings.TrimSpace(string(comm))}
}

// connect gives a connection over the loopback that is bound to it, and what names it.
func connect(t *testing.T, network, address string) (net.Conn, Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var bind error
		err := raw.Control(func(fd uintptr) { bind = unix.BindToDevice(int(fd), "lo") })
		return errors.Join(err, bind)
	}}
	conn, err := dialer.Dial(network, l.Addr().String())
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, Conn{
		Device: loopback.Index, Local: netip.MustParseAddrPort(conn.LocalAddr().String()), Remote: netip.MustParseAddrPort(conn.RemoteAddr().String()),
	}
}

// TestCut ends one of two connections to the same port, in every way that this kernel has.
func TestCut(t *testing.T) {
	ways := map[Method]func(Conn) error{SockDestroy: destroy, Pidfd: (&borrower{Options: self(t)}).cut}
	if err := try(t.Context(), destroy); errors.Is(err, ErrUnsupported) {
		t.Log("not tested:", err)
		delete(ways, SockDestroy)
	}
	if err := tryPidfd(); err != nil {
		t.Log("not tested:", err)
		delete(ways, Pidfd)
	}
	for method, cut := range ways {
		for network, address := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
			t.Run(string(method)+"/"+network, func(t *testing.T) {
				conn, name := connect(t, network, address)
				other, err := net.Dial(network, name.Remote.String())
				if err != nil {
					t.Fatal(err)
				}
				defer other.Close()
				elsewhere := name
				elsewhere.Device = 4711
				if err := cut(elsewhere); !errors.Is(err, ErrNoSocket) {
					t.Errorf("bound to another device: %v", err)
				}
				if err := cut(name); err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				if n, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("read %d bytes, %v", n, err)
				}
				if _, err := other.Write([]byte("x")); err != nil {
					t.Errorf("the other connection: %v", err)
				}
				if err := cut(name); !errors.Is(err, ErrNoSocket) {
					t.Errorf("again: %v", err)
				}
			})
		}
	}
}

func TestNew(t *testing.T) {
	c, err := New(t.Context(), self(t))
	t.Log(c.Method(), err)
	if (c.Method() == SockDestroy) != (err == nil) {
		t.Errorf("method %s, %v", c.Method(), err)
	}
	_, name := connect(t, "tcp4", "127.0.0.1:0")
	err = c.Cut(name)
	if c.Method() == None != errors.Is(err, ErrUnsupported) || (c.Method() != None && err != nil) {
		t.Errorf("method %s: %v", c.Method(), err)
	}
}

// TestRequest is laid out as linux/inet_diag.h has it.
func TestRequest(t *testing.T) {
	for _, c := range []struct {
		local, remote string
		want          []byte
	}{
		{"10.99.0.10:258", "10.99.0.1:3260", append([]byte{2, 6, 0, 0, 0, 0, 0, 0, 1, 2, 0x0c, 0xbc, 10, 99, 0, 10}, make([]byte, 12)...)},
		{"[fd00::10]:258", "[fd00::1]:3260", []byte{
			10, 6, 0, 0, 0, 0, 0, 0, 1, 2, 0x0c, 0xbc, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
		}},
	} {
		r := request{Local: netip.MustParseAddrPort(c.local), Remote: netip.MustParseAddrPort(c.remote), Device: 7}
		got := r.Serialize()
		if len(got) != r.Len() {
			t.Fatalf("%d bytes, Len %d", len(got), r.Len())
		}
		if diff := cmp.Diff(c.want, got[:28]); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]byte{7, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}, got[44:]); diff != "" {
			t.Error(diff)
		}
	}
}
