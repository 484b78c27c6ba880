package guest

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/lab/wire"
)

// AgentArg makes our program call Agent.
const AgentArg = "agent"

// Agent serves requests from the outside on the channel until it is told to halt or the outside is gone.
func Agent(channel string) error {
	f, err := openChannel(channel)
	if err != nil {
		return err
	}
	halt := make(chan struct{})
	s := wire.NewGuestSession(f, func(st *wire.Stream) { serve(st, halt) })
	if _, err := s.Open(wire.Request{Op: wire.OpHello}); err != nil {
		return err
	}
	select {
	case <-s.Done():
	case <-halt:
	}
	return nil
}

// openChannel opens a serial line or virtio port and switches off all that a terminal would do to the bytes.
func openChannel(channel string) (*os.File, error) {
	path, err := channelPath(channel)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("agent channel: %w", err)
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return f, nil //nolint:nilerr // a virtio port is no terminal
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("agent channel: %w", err)
	}
	return f, nil
}

// channelPath finds the device of a virtio port by its name; it shows up when the driver has talked to the host.
func channelPath(channel string) (string, error) {
	if strings.HasPrefix(channel, "/") {
		return channel, nil
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		ports, _ := filepath.Glob("/sys/class/virtio-ports/*")
		for _, port := range ports {
			if name, err := os.ReadFile(port + "/name"); err == nil && strings.TrimSpace(string(name)) == channel {
				return "/dev/" + filepath.Base(port), nil
			}
		}
		<-tick.C
	}
	return "", fmt.Errorf("agent channel: no virtio port %q", channel)
}

func serve(st *wire.Stream, halt chan struct{}) {
	switch st.Request.Op {
	case wire.OpExec:
		serveExec(st)
	case wire.OpDial:
		serveDial(st)
	case wire.OpHalt:
		_ = st.Exit(flush(st.Request.Argv))
		close(halt)
	default:
		_ = st.Exit(wire.Result{Code: 126, Error: "agent: unknown operation " + st.Request.Op})
	}
}

// flush writes the file systems of the given paths back, or all when none is given. All may hang on a dead device.
func flush(paths []string) wire.Result {
	if len(paths) == 0 {
		unix.Sync()
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return wire.Result{Code: 1, Error: err.Error()}
		}
		err = unix.Syncfs(int(f.Fd()))
		_ = f.Close()
		if err != nil {
			return wire.Result{Code: 1, Error: err.Error()}
		}
	}
	return wire.Result{}
}

func serveExec(st *wire.Stream) {
	req := st.Request
	cmd := exec.Command(req.Argv[0], req.Argv[1:]...) //nolint:gosec // this is what the lab is for
	cmd.Env, cmd.Dir = req.Env, req.Dir
	cmd.Stdout, cmd.Stderr = st.Writer(wire.Stdout), st.Writer(wire.Stderr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A daemon that the program leaves behind may keep the pipes open: do not wait for that.
	cmd.WaitDelay = time.Second
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_ = st.Exit(wire.Result{Code: 127, Error: err.Error()})
		return
	}
	go feed(st, stdin, cmd.Process)
	_ = cmd.Wait() // the state says more
	_ = st.Exit(exitResult(cmd.ProcessState))
}

// feed passes input and signals on to the program until its stream ends.
func feed(st *wire.Stream, stdin io.WriteCloser, p *os.Process) {
	defer stdin.Close()
	for {
		f, err := st.Recv()
		if err != nil {
			return
		}
		switch f.Kind {
		case wire.Stdin:
			_, _ = stdin.Write(f.Data) // a program need not read its input
		case wire.EOF:
			_ = stdin.Close()
		case wire.Signal:
			_ = p.Signal(syscall.Signal(f.Data[0]))
		case wire.Open, wire.Stdout, wire.Stderr, wire.Exit, wire.Taken:
		}
	}
}

func exitResult(state *os.ProcessState) wire.Result {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return wire.Result{Code: 128 + int(ws.Signal()), Error: "ended by signal: " + ws.Signal().String()}
	}
	return wire.Result{Code: state.ExitCode()}
}

func serveDial(st *wire.Stream) {
	conn, err := net.Dial(st.Request.Args["network"], st.Request.Args["address"])
	if err != nil {
		_ = st.Exit(wire.Result{Code: 1, Error: err.Error()})
		return
	}
	_ = st.Send(wire.Stdout, nil) // connected
	once := sync.OnceFunc(func() { _ = conn.Close() })
	defer once()
	go func() {
		defer once()
		for {
			f, err := st.Recv()
			if err != nil || f.Kind != wire.Stdin {
				return
			}
			if _, err := conn.Write(f.Data); err != nil {
				return
			}
		}
	}()
	_, _ = io.Copy(st.Writer(wire.Stdout), conn) // the end of the connection is its result
	_ = st.Exit(wire.Result{})
}
