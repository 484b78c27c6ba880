//go:build lab

package smoke

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

func TestNetworks(t *testing.T) {
	labenv.Require(t, labenv.NetEm, labenv.TBF)
	for _, tt := range []struct {
		name string
		o    labenv.Options
	}{
		{"4x4 in one subnet", labenv.Options{NICs: 4, Portals: 4}},
		{"separate fabrics", labenv.Options{Separate: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := labenv.New(t, tt.o)
			for i, nic := range e.Net.NICs {
				e.Run("ping", "-c", "1", "-W", "2", "-I", nic, e.Net.Portals[i])
			}
			e.Drop("san0")
			if _, err := e.Try("ping", "-c", "1", "-W", "1", "-I", "san0", e.Net.Portals[0]); err == nil {
				t.Error("ping went through a NIC that drops")
			}
			e.Undrop("san0")
			e.Run("ping", "-c", "1", "-W", "5", "-I", "san0", e.Net.Portals[0])
		})
	}
}

func TestShape(t *testing.T) {
	labenv.Require(t, labenv.TBF)
	e := labenv.New(t, labenv.Options{})
	e.Shape("san0", "4mbit")
	// 1 MB less the burst of 256 KiB takes 1.5 s.
	if took := transfer(t, e.Net.Addrs[0], 1_000_000); took < time.Second {
		t.Errorf("1 MB in %v at 4 Mbit/s", took)
	}
	e.Shape("san0", "")
	if took := transfer(t, e.Net.Addrs[0], 1_000_000); took > time.Second {
		t.Errorf("1 MB in %v without a limit", took)
	}
}

// transfer sends bytes from the target's side to one of our addresses.
func transfer(t *testing.T, addr string, size int) time.Duration {
	t.Helper()
	l, err := net.Listen("tcp", addr+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := labenv.DialTarget("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = conn.Write(make([]byte, size))
		_ = conn.Close()
	}()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	start := time.Now()
	if n, err := io.Copy(io.Discard, in); err != nil || int(n) != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	return time.Since(start)
}

// TestSockDestroy is left out where the kernel cannot, and the run says so.
func TestSockDestroy(t *testing.T) {
	labenv.Optional(t, labenv.SockDestroy)
}
