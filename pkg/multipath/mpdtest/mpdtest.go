// Package mpdtest plays multipathd's socket in tests.
package mpdtest

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// Serve answers each command with what answer gives, until the test ends; a nil answer keeps the client waiting. It gives the socket's
// address.
func Serve(t *testing.T, answer func(command string) *string) (addr string) {
	t.Helper()
	addr = filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", addr) //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go ServeOn(l, answer)
	return addr
}

// ServeOn does so on a listener, until that is closed.
func ServeOn(l net.Listener, answer func(command string) *string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go reply(conn, answer)
	}
}

// reply reads one command and answers it: each has its length before it, eight bytes in the machine's order, and a NUL behind.
func reply(conn net.Conn, answer func(string) *string) {
	defer func() { _ = conn.Close() }()
	head := make([]byte, 8)
	if _, err := io.ReadFull(conn, head); err != nil {
		return
	}
	command, err := io.ReadAll(io.LimitReader(conn, int64(binary.NativeEndian.Uint64(head)))) //nolint:gosec // a test's
	if err != nil {
		return
	}
	text := answer(strings.TrimSuffix(string(command), "\x00"))
	if text == nil {
		_, _ = io.Copy(io.Discard, conn)
		return
	}
	msg := binary.NativeEndian.AppendUint64(nil, uint64(len(*text)+1))
	_, _ = conn.Write(append(append(msg, *text...), 0))
}
