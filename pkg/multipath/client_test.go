package multipath

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/multipath/mpdtest"
)

// serve answers each command with what answer gives; a nil answer keeps the client waiting.
func serve(t *testing.T, answer func(command string) *string) *Client {
	t.Helper()
	return NewClientAt(mpdtest.Serve(t, answer))
}

func TestCommands(t *testing.T) {
	var got string
	c := serve(t, func(command string) *string { got = command; ok := "ok\n"; return &ok })
	ctx := t.Context()
	for want, call := range map[string]func() error{
		"add map 36001":             func() error { return c.AddMap(ctx, "36001") },
		"del map 36001":             func() error { return c.DelMap(ctx, "36001") },
		"add path sdb":              func() error { return c.AddPath(ctx, "sdb") },
		"del path sdb":              func() error { return c.DelPath(ctx, "sdb") },
		"fail path sdb":             func() error { return c.FailPath(ctx, "sdb") },
		"reinstate path sdb":        func() error { return c.ReinstatePath(ctx, "sdb") },
		"resize map 36001":          func() error { return c.Resize(ctx, "36001") },
		"disablequeueing map 36001": func() error { return c.DisableQueueing(ctx, "36001") },
		"restorequeueing map 36001": func() error { return c.RestoreQueueing(ctx, "36001") },
		"reconfigure":               func() error { return c.Reconfigure(ctx) },
	} {
		if err := call(); err != nil || got != want {
			t.Errorf("sent %q, want %q, error %v", got, want, err)
		}
	}
	got = ""
	for _, bad := range []string{"", "sdb json", "-x", "a\nb", "a\"b", "a/b"} {
		if err := c.AddPath(ctx, bad); !errors.Is(err, ErrInput) || got != "" {
			t.Errorf("%q: error %v, sent %q", bad, err, got)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   error
	}{
		{"ok\n", nil},
		{"delayed\nok\n", nil},
		{`{"maps": []}`, nil},
		{"", nil},
		{"fail\n", ErrRefused},
		{"map reload error. removed\nfail\n", ErrRefused},
		{"blacklisted\n", ErrRefused},
		{"timeout\n", ErrBusy},
		{"permission denied\n", ErrRefused},
	} {
		if err := verdict(c.answer); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.answer, err, c.want)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	c := NewClientAt(filepath.Join(t.TempDir(), "nobody"))
	if _, err := c.Do(t.Context(), "show daemon"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

// TestQueueFull: a multipathd that many talk to at once takes no connection for a while; it is not away.
func TestQueueFull(t *testing.T) {
	addr := filepath.Join(t.TempDir(), "socket")
	l := narrow(t, addr)
	var d net.Dialer
	for {
		conn, err := d.DialContext(t.Context(), "unix", addr)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	c := NewClientAt(addr)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, "show daemon"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a full queue: %v", err)
	}
	done := make(chan error)
	go func() { _, err := c.Do(t.Context(), "show daemon"); done <- err }()
	idle := "pid 7 idle\n"
	go mpdtest.ServeOn(l, func(string) *string { return &idle })
	if err := <-done; err != nil {
		t.Errorf("when there was room: %v", err)
	}
}

// narrow listens with the shortest queue that there is.
func narrow(t *testing.T, addr string) net.Listener {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), addr)
	defer func() { _ = file.Close() }()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: addr}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestDeadline(t *testing.T) {
	c := serve(t, func(string) *string { return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, "show daemon"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestReady(t *testing.T) {
	for answer, want := range map[string]error{"pid 7 idle\n": nil, "pid 7 running\n": nil, "pid 7 configure\n": ErrBusy} {
		c := serve(t, func(string) *string { return &answer })
		if err := c.Ready(t.Context()); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", answer, err, want)
		}
	}
}

func TestBusy(t *testing.T) {
	status := "path checker states:\nup                  4\n\npaths: 4\nbusy: True\n"
	c := serve(t, func(string) *string { return &status })
	if busy, err := c.Busy(t.Context()); err != nil || !busy {
		t.Errorf("busy %v, error %v", busy, err)
	}
}
