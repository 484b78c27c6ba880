// Package vm boots lab guests from the outside: as User-Mode Linux processes, or under qemu with Debian's kernel.
package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/portbind/portbind/hack/lab/guest"
	"github.com/portbind/portbind/hack/lab/wire"
)

// Kinds of guests.
const (
	UML  = "uml"
	QEMU = "qemu"
)

// Spec describes a guest. The same Spec can be booted again and again; what is on its disks stays.
type Spec struct {
	Kind    string
	Name    string
	Mem     string   // as the kernel's mem= has it: 2G
	Modules []string // loaded at boot
	Shared  []string // directories of the outside, writable inside at the same path
	State   string   // raw image with a file system for what must survive a reboot; none: nothing does
	Disks   []string // raw images: /dev/disk/lab/0, /dev/disk/lab/1, ...
	NICs    []NIC
	// PolicyRouting makes answers leave by the NIC whose address was asked: a target with several in one subnet.
	PolicyRouting bool
	Console       string // file for kernel log and what else goes to the console; appended to
	Scratch       string // directory of this guest's own
}

// NIC joins an interface of the guest to a tap device of the network namespace that we run in.
type NIC struct {
	Name string // inside
	Tap  string // outside
	Addr string // CIDR
	MAC  string
}

// Guest is a running guest.
type Guest struct {
	*wire.Session
	spec Spec
	cmd  *exec.Cmd
	gone chan struct{} // the process has ended
}

// transport is how one kind of guest is started: the command, and the channel to its agent once it runs.
type transport struct {
	cmd     *exec.Cmd
	channel io.ReadWriter
	started func() // releases what only the child needs; called even when it does not start
}

// Boot starts a guest and waits until its agent answers.
func Boot(ctx context.Context, spec Spec) (*Guest, error) {
	if err := os.MkdirAll(spec.Scratch, 0o755); err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	console, err := os.OpenFile(spec.Console, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	defer console.Close()
	t, err := prepare(ctx, spec)
	if err != nil {
		return nil, err
	}
	t.cmd.Stdout, t.cmd.Stderr = console, console
	// A process group of its own, so that Ctrl-C reaches us alone. It dies with us, whatever ends us, and as the first
	// process of a pid namespace it takes all its helper processes with it.
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWPID}
	g := &Guest{spec: spec, cmd: t.cmd, gone: make(chan struct{})}
	err = t.cmd.Start()
	t.started()
	if err != nil {
		return nil, fmt.Errorf("start %s guest: %w", spec.Kind, err)
	}
	go func() { _ = t.cmd.Wait(); close(g.gone) }()
	return g, g.awaitAgent(ctx, t.channel)
}

func prepare(ctx context.Context, spec Spec) (transport, error) {
	if spec.Kind == QEMU {
		return prepareQEMU(ctx, spec)
	}
	return prepareUML(spec)
}

func (g *Guest) awaitAgent(ctx context.Context, channel io.ReadWriter) error {
	hello := make(chan struct{}, 1)
	g.Session = wire.NewHostSession(channel, func(st *wire.Stream) {
		_ = st.Exit(wire.Result{})
		select {
		case hello <- struct{}{}:
		default: // UML executes itself again on reboot: for us the guest has ended; booting it again is the caller's
			g.Kill()
		}
	})
	select {
	case <-hello:
		hello <- struct{}{}
		return nil
	case <-g.gone:
		return fmt.Errorf("guest %s ended while booting:\n%s", g.spec.Name, g.ConsoleTail())
	case <-ctx.Done():
		g.Kill()
		return fmt.Errorf("guest %s does not come up: %w:\n%s", g.spec.Name, context.Cause(ctx), g.ConsoleTail())
	}
}

// Gone is closed when the guest's process has ended.
func (g *Guest) Gone() <-chan struct{} { return g.gone }

// Kill ends the guest at once, as a power failure would, and returns when its process is gone.
func (g *Guest) Kill() {
	_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	<-g.gone
}

// Halt writes file systems back (only those of paths, if any), then ends the guest. A guest that does not answer
// within the grace period is killed.
func (g *Guest) Halt(grace time.Duration, paths ...string) error {
	defer g.Kill()
	st, err := g.Open(wire.Request{Op: wire.OpHalt, Argv: paths})
	if err != nil {
		return err
	}
	result := make(chan error, 1)
	go func() {
		r, err := st.Wait(nil, nil)
		if err == nil && r.Code != 0 {
			err = errors.New(r.Error)
		}
		result <- err
	}()
	select {
	case err = <-result:
	case <-time.After(grace):
		return fmt.Errorf("guest %s does not halt", g.spec.Name)
	}
	if len(paths) > 0 || err != nil {
		return err // nothing else in it is worth keeping
	}
	select {
	case <-g.gone:
	case <-time.After(grace):
	}
	return nil
}

// ConsoleTail returns the last lines of the guest's console.
func (g *Guest) ConsoleTail() string {
	data, err := os.ReadFile(g.spec.Console)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// config is what all kinds of guests are told.
func (s Spec) config() guest.Config {
	return guest.Config{Hostname: s.Name, Modules: s.Modules, State: s.State != ""}
}

// images are all disks in their order; the guest knows that the state comes first.
func (s Spec) images() []string {
	if s.State == "" {
		return s.Disks
	}
	return append([]string{s.State}, s.Disks...)
}

func (s Spec) guestNIC(i int, kernel string) guest.NIC {
	n := guest.NIC{Kernel: kernel, Name: s.NICs[i].Name, Addr: s.NICs[i].Addr}
	if s.PolicyRouting {
		n.Table = 100 + i
	}
	return n
}

func writeConfig(spec Spec, c guest.Config) (string, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("guest config: %w", err)
	}
	path := filepath.Join(spec.Scratch, "config.json")
	return path, os.WriteFile(path, data, 0o644)
}
