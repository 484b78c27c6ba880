package hostexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// searchPath is where programs of the host are looked for; the caller's PATH does not matter.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// hostMounts is the mount namespace of the host's first process; seen from a container with hostPID.
	hostMounts = "/proc/1/ns/mnt"
	// maxStderr bounds Error.Stderr.
	maxStderr = 4 << 10
	// killWait is how long Run waits for the output of a program's orphans, whether it was killed or ended by itself.
	killWait = 3 * time.Second
)

// Options says how Local starts programs.
type Options struct {
	// HostMountNamespace makes programs see the mounts of the host's first process instead of our own: a
	// container with hostPID and CAP_SYS_ADMIN then needs none of the host's tools in its image.
	HostMountNamespace bool
}

// Local runs programs of this machine. It holds no state and is safe for concurrent use.
type Local struct {
	// namespace is the file of the mount namespace to enter; empty for our own.
	namespace string
}

// New returns a Runner for this machine.
func New(o Options) *Local {
	if o.HostMountNamespace {
		return &Local{namespace: hostMounts}
	}
	return &Local{}
}

// Run implements Runner. Programs are looked for in the standard system directories only, run with LC_ALL=C and
// an otherwise empty environment, and lead a process group of their own.
func (l *Local) Run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	fail := func(err error, stderr string) error {
		return &Error{Name: name, Args: args, ExitCode: -1, Stderr: stderr, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err, "")
	}
	var stdout bytes.Buffer
	stderr := &boundedBuffer{limit: maxStderr}
	err := l.run(ctx, bytes.NewReader(stdin), &stdout, stderr, name, args)
	return stdout.Bytes(), outcome(ctx, err, fail, stderr.String())
}

// run starts a program where programs run, waits for its end, and for that of its output.
func (l *Local) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, name string, args []string) error {
	outputs, err := newOutputs(stdout, stderr)
	if err != nil {
		return err
	}
	var cmd *exec.Cmd
	err = l.InHost(func() error {
		path, err := LookPath(name)
		if err != nil {
			return err
		}
		cmd = command(ctx, path, args)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, outputs[0].write, outputs[1].write
		return cmd.Start()
	})
	outputs.started()
	if err == nil {
		err = cmd.Wait()
	}
	outputs.finish(time.Now().Add(killWait))
	return err
}

// outcome turns the result of Wait into Run's error.
func outcome(ctx context.Context, err error, fail func(error, string) error, stderr string) error {
	// ErrWaitDelay: it ended with status 0, and what it left running has its stdin open.
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if ctx.Err() != nil {
		return fail(context.Cause(ctx), stderr)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fail(err, stderr)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fail(fmt.Errorf("killed by signal %d (%s)", status.Signal(), status.Signal()), stderr)
	}
	failed := fail(nil, stderr)
	var e *Error
	errors.As(failed, &e)
	e.ExitCode = exit.ExitCode()
	return e
}

// command prepares the program so that the end of ctx kills it with all that it started.
func command(ctx context.Context, path string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // starting programs is what this package is for
	cmd.Env = []string{"LC_ALL=C", "PATH=" + searchPath}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		// The negative id is the group, which Setpgid named after its leader.
		if err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
			return err
		}
		return os.ErrProcessDone
	}
	cmd.WaitDelay = killWait
	return cmd
}

// LookPath finds a program in the standard system directories, in the mount namespace that it is called in; a name with
// a slash is taken as it is. exec.ErrNotFound when there is none.
func LookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for dir := range strings.SplitSeq(searchPath, ":") {
		path := dir + "/" + name
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// InHost calls fn where programs run: in the host's mount namespace when the options say so, else directly. File
// names that fn uses are then the host's. fn must do its work on its own goroutine; the namespace is a property
// of the thread that it is locked to.
func (l *Local) InHost(fn func() error) error {
	if l.namespace == "" {
		return fn()
	}
	return onThrowawayThread(func() error {
		if err := enterMounts(l.namespace); err != nil {
			return err
		}
		return fn()
	})
}

// onThrowawayThread calls fn on a thread that ends afterwards, so that no other goroutine comes to run in the namespace
// that fn left it in. The runtime ends a thread whose goroutine ends locked to it, save the process' first one. That one
// must stay as it is, too, since /proc/self is about it: it is kept busy while another does the work.
func onThrowawayThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			result <- onThrowawayThread(fn)
			return
		}
		result <- fn()
	}()
	return <-result
}

// enterMounts moves this thread into a mount namespace. setns(2) refuses threads that share their root and working
// directory with others, hence CLONE_FS first.
func enterMounts(namespace string) error {
	fd, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("the host's mount namespace: %w", &os.PathError{Op: "open", Path: namespace, Err: err})
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare CLONE_FS: %w", err)
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the host's mount namespace: %w", err)
	}
	return nil
}

// boundedBuffer keeps the first limit bytes and swallows the rest, so that a chatty program neither blocks nor
// fills the memory.
type boundedBuffer struct {
	buf   bytes.Buffer
	limit int
}

// Write implements io.Writer and never fails.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	room := max(0, b.limit-b.buf.Len())
	b.buf.Write(p[:min(room, len(p))])
	return len(p), nil
}

// String is what was kept, trimmed.
func (b *boundedBuffer) String() string { return strings.TrimSpace(b.buf.String()) }
