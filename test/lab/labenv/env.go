//go:build lab

// Package labenv is what scenarios on a real kernel are built from: a storage network with cuttable links, iSCSI
// targets, the initiator's daemons, writers that know what was acknowledged, and checks that nothing is left over.
//
// Tests run as root inside a lab guest (hack/lab/run). Everything made through an Env is undone by the test's cleanup,
// so that tests can follow each other in one guest. Helpers fail the test on errors of the lab itself; what a scenario
// is to judge is returned.
package labenv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Env is one scenario's surroundings.
type Env struct {
	T         *testing.T
	Net       *Network
	Artefacts string // directory of this test's own; kept after the run
	dir       string // scratch, on tmpfs
	checks    []Check
	cleansLIO bool
}

// Options says how the storage network looks. The zero value is the hard case: two NICs and two portals in one subnet.
type Options struct {
	NICs     int  // default 2
	Portals  int  // default 2
	Separate bool // a subnet and a switch per NIC, portals spread over them
}

// New builds the storage network. It fails the test outside the lab, and when an earlier test left something behind.
func New(t *testing.T, o Options) *Env {
	t.Helper()
	if os.Getenv("LAB_INSIDE") == "" {
		t.Fatal("not in the lab: run with go test -tags lab -exec hack/lab/run")
	}
	if o.NICs == 0 {
		o.NICs = 2
	}
	if o.Portals == 0 {
		o.Portals = 2
	}
	e := bareEnv(t)
	e.mountConfigfs()
	e.checks = builtinChecks()
	if left := e.leftovers(); len(left) > 0 {
		t.Fatalf("left over from an earlier test:\n%s", strings.Join(left, "\n"))
	}
	e.Net = newNetwork(e, o)
	return e
}

func bareEnv(t *testing.T) *Env {
	t.Helper()
	e := &Env{T: t, Artefacts: filepath.Join(os.Getenv("LAB_ARTEFACTS"), strings.ReplaceAll(t.Name(), "/", "_"))}
	e.must(os.MkdirAll(e.Artefacts, 0o755))
	e.dir = e.scratch()
	return e
}

// scratch is a directory on tmpfs: loop devices on the guest's overlay would work, but this is what it is made of anyway.
func (e *Env) scratch() string {
	dir, err := os.MkdirTemp("/dev/shm", "lab-")
	e.must(err)
	e.T.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (e *Env) must(err error) {
	e.T.Helper()
	if err != nil {
		e.T.Fatalf("lab: %v", err)
	}
}

// Run runs a program to its end and returns its standard output. A failure fails the test.
func (e *Env) Run(argv ...string) string {
	e.T.Helper()
	out, err := e.Try(argv...)
	e.must(err)
	return out
}

// Try is Run with the failure returned. The error has the program's standard error in it.
func (e *Env) Try(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return run(ctx, "", argv...)
}

// InTarget is Run on the target's side of the network.
func (e *Env) InTarget(argv ...string) string {
	e.T.Helper()
	return e.Run(append([]string{"nsenter", "--net=" + targetNS}, argv...)...)
}

func run(ctx context.Context, stdin string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Eventually polls every 10 ms until ok returns true. It fails the test after the timeout and returns the time it took,
// which is what to judge a limit by: the timeout is five times as long where the whole machine is emulated.
func (e *Env) Eventually(timeout time.Duration, what string, ok func() bool) time.Duration {
	e.T.Helper()
	took, in := within(timeout, ok)
	if !in {
		e.T.Fatalf("not within %v: %s", timeout, what)
	}
	return took
}

func within(timeout time.Duration, ok func() bool) (time.Duration, bool) {
	if os.Getenv("LAB") == "qemu" {
		timeout *= 5
	}
	start := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(start) > timeout {
			return time.Since(start), false
		}
		<-tick.C
	}
	return time.Since(start), true
}

// Write writes text to a file of the kernel (sysfs, configfs, procfs), without a newline: LIO would keep it.
func (e *Env) Write(path, text string) {
	e.T.Helper()
	e.must(os.WriteFile(path, []byte(text), 0o600))
}

// read returns a kernel file's trimmed content, or "" when it is not there (any more).
func read(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
