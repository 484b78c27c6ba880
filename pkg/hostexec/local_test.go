package hostexec

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestRunFeedsStdinAndReturnsStdout(t *testing.T) {
	out, err := New(Options{}).Run(t.Context(), []byte("text"), "cat")
	if err != nil || string(out) != "text" {
		t.Fatalf("got %q, %v", out, err)
	}
}

func TestRunGivesNoStdinWhenNil(t *testing.T) {
	out, err := New(Options{}).Run(t.Context(), nil, "cat")
	if err != nil || len(out) != 0 {
		t.Fatalf("got %q, %v", out, err)
	}
}

func TestRunEnvironmentIsOurs(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	t.Setenv("SECRET", "x")
	out, err := New(Options{}).Run(t.Context(), nil, "env")
	if err != nil {
		t.Fatal(err)
	}
	want := "LC_ALL=C\nPATH=" + searchPath + "\n"
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Error(diff)
	}
}

func TestRunReportsExitStatusAndStderr(t *testing.T) {
	_, err := New(Options{}).Run(t.Context(), nil, "sh", "-c", "echo oops >&2; exit 21")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
	if e.ExitCode != 21 || e.Stderr != "oops" || e.Err != nil {
		t.Errorf("got %+v", e)
	}
	if want := "sh -c echo oops >&2; exit 21: exit status 21: oops"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestRunBoundsStderr(t *testing.T) {
	_, err := New(Options{}).Run(t.Context(), nil, "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1")
	var e *Error
	if !errors.As(err, &e) || len(e.Stderr) != maxStderr {
		t.Fatalf("got %d bytes of stderr", len(e.Stderr))
	}
}

func TestRunReportsSignals(t *testing.T) {
	_, err := New(Options{}).Run(t.Context(), nil, "sh", "-c", "kill -9 $$")
	var e *Error
	if !errors.As(err, &e) || e.ExitCode != -1 || !strings.Contains(err.Error(), "signal 9") {
		t.Fatalf("got %v", err)
	}
}

func TestRunKillsTheWholeGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	marker := t.TempDir() + "/survived"
	start := time.Now()
	_, err := New(Options{}).Run(ctx, nil, "sh", "-c", "(sleep 1; touch "+marker+") & sleep 60")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	<-time.After(1200 * time.Millisecond)
	if _, err := os.Stat(marker); err == nil {
		t.Error("a child of the program outlived it")
	}
}

// A program that starts a daemon which keeps its output open has done its work all the same, and says with which status.
func TestRunOfWhatLeavesAChild(t *testing.T) {
	for name, tt := range map[string]struct {
		exit string
		time time.Duration
	}{
		"success": {"0", time.Minute}, "success, the time ends meanwhile": {"0", killWait / 2}, "failure": {"7", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), tt.time)
			defer cancel()
			out, err := New(Options{}).Run(ctx, nil, "sh", "-c", "sleep 60 & echo $!; exit "+tt.exit)
			pid, badPID := strconv.Atoi(strings.TrimSpace(string(out)))
			if badPID != nil {
				t.Fatalf("got %q, %v", out, err)
			}
			if killErr := unix.Kill(pid, unix.SIGKILL); killErr != nil {
				t.Errorf("the child did not outlive the program: %v", killErr)
			}
			var e *Error
			if failed := errors.As(err, &e); failed != (tt.exit != "0") || failed && strconv.Itoa(e.ExitCode) != tt.exit {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What the program wrote before it ended is all there, however late it is read.
func TestOutputIsReadPastItsDeadline(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = read.Close(), write.Close() }() // somebody has the program's end until then
	want := strings.Repeat("x", pipeSize)
	if _, err := write.WriteString(want); err != nil {
		t.Fatal(err)
	}
	_ = read.SetReadDeadline(time.Unix(1, 0))
	var got bytes.Buffer
	(&output{write: write, read: read, into: &got, done: make(chan struct{})}).copy()
	if got.String() != want {
		t.Errorf("got %d bytes of %d", got.Len(), len(want))
	}
}

func TestRunWithEndedContextStartsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(Options{}).Run(ctx, nil, "no-such-program"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestMissing(t *testing.T) {
	_, missing := New(Options{}).Run(t.Context(), nil, "no-such-program")
	_, missingPath := New(Options{}).Run(t.Context(), nil, "/no/such/program")
	_, failed := New(Options{}).Run(t.Context(), nil, "false")
	tests := []struct {
		name string
		err  error
		want string
		hint string
	}{
		{"not installed", missing, "no-such-program", "no-such-program not found on this node: install it"},
		{"no such path", missingPath, "/no/such/program", "/no/such/program not found on this node: install it"},
		{"failed", failed, "", ""},
		{"nil", nil, "", ""},
		{
			"known", &Error{Name: "iscsiadm", ExitCode: -1, Err: exec.ErrNotFound}, "iscsiadm",
			"iscsiadm not found: install open-iscsi (RHEL, Fedora: iscsi-initiator-utils)",
		},
		{"same package everywhere", &Error{Name: "lvs", ExitCode: -1, Err: exec.ErrNotFound}, "lvs", "lvs not found: install lvm2"},
		{"a file of the program", &Error{Name: "x", Err: &os.PathError{Op: "open", Path: "/f", Err: os.ErrNotExist}}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := Missing(test.err)
			if got != test.want || ok != (test.want != "") {
				t.Errorf("Missing: got %q, %t", got, ok)
			}
			if hint := MissingHint(test.err); hint != test.hint {
				t.Errorf("MissingHint: got %q", hint)
			}
		})
	}
}

func TestInHostWithoutNamespaceCallsDirectly(t *testing.T) {
	called := false
	if err := New(Options{}).InHost(func() error { called = true; return os.ErrClosed }); !errors.Is(err, os.ErrClosed) || !called {
		t.Fatalf("got %v, called %t", err, called)
	}
}

// A namespace that may be entered anywhere is our own; the lab has the one of the host.
func TestMountNamespaceIsEnteredOnAThreadOfItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to enter a mount namespace")
	}
	host := &Local{namespace: "/proc/self/ns/mnt"}
	before, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	out, err := host.Run(t.Context(), nil, "readlink", "/proc/self/ns/mnt")
	if errors.Is(err, unix.EPERM) {
		t.Skip("no permission to enter a mount namespace here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != before {
		t.Errorf("got namespace %s, want %s", got, before)
	}
}

func TestMountNamespaceThatIsNotThere(t *testing.T) {
	host := &Local{namespace: t.TempDir() + "/mnt"}
	_, err := host.Run(t.Context(), nil, "true")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if program, ok := Missing(err); ok {
		t.Errorf("%s is not what is missing", program)
	}
}

// The first thread would stay in the namespace: the runtime does not end it.
func TestThrowawayThreadIsNeverTheFirst(t *testing.T) {
	for range 200 {
		var thread int
		if err := onThrowawayThread(func() error { thread = unix.Gettid(); return nil }); err != nil {
			t.Fatal(err)
		}
		if thread == unix.Getpid() {
			t.Fatal("ran on the first thread")
		}
	}
}
