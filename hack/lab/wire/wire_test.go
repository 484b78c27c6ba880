package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// pair joins two sessions; the second one's handler is given.
func pair(t *testing.T, handler func(*Stream)) (*Session, net.Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	NewSession(b, false, handler)
	return NewSession(a, true, nil), b
}

func TestStreamCarriesDataBothWays(t *testing.T) {
	s, _ := pair(t, func(st *Stream) {
		f, err := st.Recv()
		if err != nil || f.Kind != Stdin {
			t.Errorf("got %v, %v", f, err)
		}
		_ = st.Send(Stdout, bytes.ToUpper(f.Data))
		_ = st.Send(Stderr, []byte(st.Request.Op))
		_ = st.Exit(Result{Code: 3})
	})
	st, err := s.Open(Request{Op: OpExec})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(Stdin, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	r, err := st.Wait(&stdout, &stderr)
	if err != nil || r.Code != 3 || stdout.String() != "HELLO" || stderr.String() != OpExec {
		t.Errorf("got %+v, %v, %q, %q", r, err, stdout.String(), stderr.String())
	}
}

func TestDial(t *testing.T) {
	s, _ := pair(t, func(st *Stream) {
		if st.Request.Args["address"] != "echo" {
			_ = st.Exit(Result{Code: 1, Error: "connection refused"})
			return
		}
		_ = st.Send(Stdout, nil) // connected
		f, err := st.Recv()
		if err != nil || st.Send(Stdout, f.Data) != nil || st.Exit(Result{}) != nil {
			t.Errorf("got %v, %v", f, err)
		}
	})
	conn, err := s.Dial("guest", "unix", "echo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := s.Dial("guest", "unix", "nothing"); err == nil || err.Error() != "connection refused" {
		t.Errorf("got %v, want connection refused", err)
	}
}

func TestLongDataIsSplit(t *testing.T) {
	long := strings.Repeat("0123456789", maxPayload/5)
	s, _ := pair(t, func(st *Stream) {
		_ = st.Send(Stdout, []byte(long))
		_ = st.Exit(Result{})
	})
	st, err := s.Open(Request{})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := st.Wait(&out, nil); err != nil || out.String() != long {
		t.Errorf("got %d bytes, %v; want %d", out.Len(), err, len(long))
	}
}

func TestChannelEndsStreams(t *testing.T) {
	s, conn := pair(t, func(*Stream) {})
	st, err := s.Open(Request{})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := st.Wait(nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
	<-s.Done()
	if _, err := s.Open(Request{}); !errors.Is(err, ErrClosed) {
		t.Errorf("open after the end: got %v, want %v", err, ErrClosed)
	}
}

// A guest that dies in mid-frame leaves a beginning; what the next one says must be understood.
func TestResynchronises(t *testing.T) {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	hello := make(chan string, 1)
	NewSession(b, false, func(st *Stream) { hello <- st.Request.Op })
	if _, err := a.Write([]byte("login: \x7e\x1a\xff\xff\xff\xff\x01\xff\xff\xff\xff garbage")); err != nil {
		t.Fatal(err)
	}
	if _, err := NewSession(a, true, nil).Open(Request{Op: OpHello}); err != nil {
		t.Fatal(err)
	}
	if op := <-hello; op != OpHello {
		t.Errorf("got %q", op)
	}
}

// Into a guest no more goes than its agent has read, however much is sent; and the sender is let go when the guest ends.
func TestGuestIsPaced(t *testing.T) {
	guest, line := net.Pipe()
	in := &meter{ReadWriter: line}
	took := make(chan int, 1)
	NewGuestSession(guest, func(st *Stream) {
		n := 0
		for f, err := st.Recv(); err == nil && f.Kind == Stdin; f, err = st.Recv() {
			n += len(f.Data)
		}
		took <- n
	})
	st, err := NewHostSession(in, nil).Open(Request{Op: OpExec, Argv: []string{strings.Repeat("x", 3*window)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.Send(Stdin, make([]byte, 10*window)), st.Send(EOF, nil)); err != nil {
		t.Fatal(err)
	}
	if n := <-took; n != 10*window || in.most > window {
		t.Errorf("the guest got %d bytes, up to %d at once; want %d, at most %d", n, in.most, 10*window, window)
	}

	deaf, line := net.Pipe()
	go func() {
		_, _ = io.ReadFull(deaf, make([]byte, window)) // and says nothing
		_ = deaf.Close()
	}()
	if _, err := NewHostSession(line, nil).Open(Request{Argv: []string{strings.Repeat("x", 3*window)}}); !errors.Is(err, ErrClosed) {
		t.Errorf("to a guest that ended: got %v, want %v", err, ErrClosed)
	}
}

// meter notes the longest write.
type meter struct {
	io.ReadWriter
	most int
}

func (m *meter) Write(p []byte) (int, error) {
	m.most = max(m.most, len(p))
	return m.ReadWriter.Write(p)
}
