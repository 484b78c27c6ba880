package iscsi

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// kernelOf is a kernel that notes what it is asked, and answers with an error's number, 0 for none.
func (l *lab) kernelOf(number int32) *[]string {
	var asked []string
	l.kernel = func(request []byte) ([]byte, error) {
		event := request[unix.SizeofNlMsghdr:]
		native := binary.NativeEndian
		asked = append(asked, fmt.Sprintf("session %d connection %d parameter %d: %s", native.Uint32(event[16:]), native.Uint32(event[20:]),
			native.Uint32(event[24:]), strings.TrimRight(string(event[eventSize:]), "\x00")))
		answer := append([]byte(nil), request[:unix.SizeofNlMsghdr+eventSize]...)
		if number != 0 {
			native.PutUint32(answer[unix.SizeofNlMsghdr:], 103) // ISCSI_KEVENT_IF_ERROR
			native.PutUint32(answer[unix.SizeofNlMsghdr+4:], uint32(number))
		}
		return answer, nil
	}
	return &asked
}

func (l *lab) noop(t *testing.T, session int, interval, timeout string) {
	t.Helper()
	dir := filepath.Join(l.sys, "class", "iscsi_connection", fmt.Sprintf("connection%d:0", session))
	file(t, interval+"\n", dir, "recv_tmo")
	file(t, timeout+"\n", dir, "ping_tmo")
	file(t, "18446743524016103424\n", l.sys, "class/iscsi_transport/tcp/handle")
}

// TestKeepNoop: what differs is asked of the kernel, and nothing else.
func TestKeepNoop(t *testing.T) {
	want := Timers{NoopInterval: time.Second, NoopTimeout: 3 * time.Second}
	for name, c := range map[string]struct {
		interval, timeout string
		answer            int32
		asked             []string
		changed           bool
		err               error
	}{
		"so already":   {"1", "3", 0, nil, false, nil},
		"both":         {"2", "2", 0, []string{"session 7 connection 0 parameter 31: 1", "session 7 connection 0 parameter 30: 3"}, true, nil},
		"one":          {"1", "2", 0, []string{"session 7 connection 0 parameter 30: 3"}, true, nil},
		"not logged":   {"2", "2", -int32(unix.ENOTCONN), []string{"session 7 connection 0 parameter 31: 1"}, false, nil},
		"no privilege": {"2", "2", -int32(unix.EPERM), []string{"session 7 connection 0 parameter 31: 1"}, false, unix.EPERM},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			asked := l.kernelOf(c.answer)
			l.noop(t, 7, c.interval, c.timeout)
			changed, err := l.KeepNoop(t.Context(), 7, want)
			if changed != c.changed || !errors.Is(err, c.err) {
				t.Errorf("changed %v, %v", changed, err)
			}
			if diff := cmp.Diff(c.asked, *asked); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestKeepNoopOfNoSession asks nobody.
func TestKeepNoopOfNoSession(t *testing.T) {
	l := newLab(t, nil)
	asked := l.kernelOf(0)
	if changed, err := l.KeepNoop(t.Context(), 7, FastTimers()); changed || err != nil || len(*asked) > 0 {
		t.Errorf("%v, %v, %q", changed, err, *asked)
	}
}

// TestSetParamRequest: struct iscsi_uevent, as the C compiler lays it out, after struct nlmsghdr.
func TestSetParamRequest(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the bytes are of a little-endian machine")
	}
	want := "4b000000" + "10000000" + "00000000" + "00000000" + // nlmsghdr: 75 bytes, type 16
		"10000000" + "00000000" + "efcdab8967452301" + // type, iferror, transport_handle
		"07000000" + "00000000" + "1e000000" + "03000000" + "0000000000000000" + // sid, cid, ISCSI_PARAM_PING_TMO, len
		"00000000000000000000000000000000" + // r
		"31320000" // "12", its NUL, and one byte of alignment
	got := hex.EncodeToString(setParamRequest(0x0123456789abcdef, 7, paramPingTimeout, "12"))
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAnswered(t *testing.T) {
	if err := answered(make([]byte, 20)); err == nil {
		t.Error("a short answer is none")
	}
	if err := answered(make([]byte, 200)); err == nil {
		t.Error("an answer of another type is none")
	}
}

// TestKeepTimers: the record that is there has other timers, and all else as before; that of another interface is left alone.
func TestKeepTimers(t *testing.T) {
	l := newLab(t, nil)
	n := testNode()
	n.Timers, n.CHAP = TolerantTimers(), &CHAP{User: "node", Secret: "not for anybody"}
	other := n
	other.Iface.Interface = "san-b"
	for _, one := range []Node{n, other} {
		if err := l.EnsureNode(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	read := func(one Node) string {
		t.Helper()
		found, err := nodeFiles(l.db, one.ID())
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		data, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	untouched := read(other)
	if err := l.KeepTimers(t.Context(), n.ID(), QuickTimers()); err != nil {
		t.Fatal(err)
	}
	got := read(n)
	n.Timers = QuickTimers()
	want, err := nodeRecord(n, unknownTag, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if read(other) != untouched {
		t.Error("another interface's record was changed")
	}
	other.Iface.Interface = "san-c"
	if err := l.KeepTimers(t.Context(), other.ID(), QuickTimers()); err != nil || len(files(t, l.db)) != 2 {
		t.Errorf("without a record: %v, %v", err, files(t, l.db))
	}
}

func TestSooner(t *testing.T) {
	s := time.Second
	got := Timers{NoopInterval: s, NoopTimeout: 5 * s, Replacement: 2 * s, Login: 3 * s}.Sooner(
		Timers{NoopInterval: 2 * s, NoopTimeout: s, Replacement: 9 * s, Login: 2 * s})
	if want := (Timers{NoopInterval: s, NoopTimeout: s, Replacement: 2 * s, Login: 2 * s}); got != want {
		t.Errorf("%+v", got)
	}
}
