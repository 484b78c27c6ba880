//go:build lab

package labenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Daemon is a long-running program with its log among the artefacts. It can be killed and started again.
type Daemon struct {
	Name  string
	Argv  []string
	Env   []string // added to ours
	Log   string   // path
	ready func() bool
	e     *Env
	cmd   *exec.Cmd
	gone  chan struct{}
}

// Daemon starts a program and waits until ready says so; the program is stopped at cleanup.
func (e *Env) Daemon(name string, ready func() bool, argv ...string) *Daemon {
	e.T.Helper()
	d := &Daemon{Name: name, Argv: argv, Log: filepath.Join(e.Artefacts, name+".log"), ready: ready, e: e}
	e.T.Cleanup(d.Stop)
	d.Start()
	return d
}

// Start starts the program again after Stop or Kill.
func (d *Daemon) Start() {
	d.e.T.Helper()
	d.StartNoWait()
	took, ok := within(2*time.Minute, func() bool { return !d.Running() || d.ready() })
	if !ok || !d.Running() {
		d.e.T.Fatalf("%s does not start (running: %v, after %v):\n%s", d.Name, d.Running(), took, d.Tail(30))
	}
}

// StartNoWait starts the program without waiting until it is ready: for programs that are to die, or to refuse to run.
func (d *Daemon) StartNoWait() {
	d.e.T.Helper()
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	d.e.must(err)
	defer log.Close()
	d.cmd = exec.CommandContext(context.Background(), d.Argv[0], d.Argv[1:]...)
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Env = log, log, append(os.Environ(), d.Env...)
	// A process group of its own: iscsid signals its whole group when it ends.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.e.must(d.cmd.Start())
	d.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) { _ = cmd.Wait(); close(gone) }(d.cmd, d.gone)
}

// Running tells whether the program has not ended.
func (d *Daemon) Running() bool {
	select {
	case <-d.gone:
		return false
	default:
		return true
	}
}

// PID returns the process id of the program, running or not.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// ExitCode waits for the program to end by itself and returns its exit code, -1 for a signal.
func (d *Daemon) ExitCode(timeout time.Duration) int {
	d.e.T.Helper()
	d.e.Eventually(timeout, d.Name+" ends", func() bool { return !d.Running() })
	return d.cmd.ProcessState.ExitCode()
}

// Stop ends the program with SIGTERM, and with SIGKILL when it takes more than ten seconds.
func (d *Daemon) Stop() {
	if d.gone == nil || !d.Running() {
		return
	}
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.gone:
	case <-time.After(10 * time.Second):
		d.e.T.Logf("%s does not end on SIGTERM", d.Name)
		d.Kill()
	}
}

// Kill ends the program with SIGKILL, as the out-of-memory killer does, and waits until it is gone.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill()
	<-d.gone
}

// KillAll is Kill for the program and what it has started, as systemd does with what is left of a service: a child of iscsid that scans
// a host behind a dead portal would keep its socket from the next one.
func (d *Daemon) KillAll() {
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	<-d.gone
}

// Restart is Kill and Start.
func (d *Daemon) Restart() { d.e.T.Helper(); d.Kill(); d.Start() }

// Tail returns the last n lines of the log.
func (d *Daemon) Tail(n int) string {
	lines := strings.Split(read(d.Log), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
