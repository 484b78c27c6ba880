//go:build lab

package target

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/target/config"
	"github.com/portbind/portbind/pkg/target/daemon"
	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/server"
	"github.com/portbind/portbind/pkg/target/store"
)

// The test binary is also the daemon under test, with seams that kill it: when faultConfig is set it serves with that
// configuration, and ends itself with SIGKILL at the step whose number stands in the file faultStep, counted from when
// that file appeared.
const (
	faultConfig = "LAB_FAULT_CONFIG"
	faultStep   = "LAB_FAULT_STEP"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(faultConfig); path != "" {
		if err := faultyDaemon(path, &faults{file: os.Getenv(faultStep)}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func faultyDaemon(path string, f *faults) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	parts := daemon.RealParts()
	parts.Runner = faultyRunner{parts.Runner, f}
	parts.Tree = faultyTree{parts.Tree, f}
	parts.Records = func(r server.Records) server.Records { return faultyRecords{r, f} }
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return daemon.New(cfg, "faulty", parts).Run(klog.NewContext(ctx, klog.Background()))
}

// faults counts steps: each change of the machine is one when it has been made, and a program one more while it runs.
type faults struct {
	file string

	mu sync.Mutex
	// armed is when the file was made that the count is of.
	armed time.Time
	count int64
}

// step ends the daemon when its number has come.
func (f *faults) step(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.file)
	if err != nil {
		return
	}
	if !info.ModTime().Equal(f.armed) {
		f.armed, f.count = info.ModTime(), 0
	}
	f.count++
	data, err := os.ReadFile(f.file)
	deadly, numErr := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || numErr != nil || f.count != deadly {
		return
	}
	fmt.Fprintf(os.Stderr, "fault: dying at step %d: %s\n", deadly, what)
	_ = os.WriteFile(f.file+".hit", []byte(what), 0o600)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

type faultyRunner struct {
	hostexec.Runner
	f *faults
}

// Run dies while a program that changes something runs, and after it.
func (r faultyRunner) Run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	if name == "lvs" || name == "systemctl" || name == "modprobe" {
		return r.Runner.Run(ctx, stdin, name, args...)
	}
	what := name + " " + args[len(args)-1]
	started := time.AfterFunc(50*time.Millisecond, func() { r.f.step("during " + what) })
	out, err := r.Runner.Run(ctx, stdin, name, args...)
	started.Stop()
	r.f.step("after " + what)
	return out, err
}

type faultyTree struct {
	lio.Tree
	f *faults
}

func (t faultyTree) after(verb, path string, err error) error {
	t.f.step("after " + verb + " " + strings.TrimPrefix(path, "iscsi/"))
	return err
}

func (t faultyTree) Mkdir(path string) error  { return t.after("mkdir", path, t.Tree.Mkdir(path)) }
func (t faultyTree) Rmdir(path string) error  { return t.after("rmdir", path, t.Tree.Rmdir(path)) }
func (t faultyTree) Unlink(path string) error { return t.after("unlink", path, t.Tree.Unlink(path)) }

func (t faultyTree) Link(target, path string) error {
	return t.after("link", path, t.Tree.Link(target, path))
}

func (t faultyTree) Write(path, value string) error {
	return t.after("write", path, t.Tree.Write(path, value))
}

type faultyRecords struct {
	server.Records
	f *faults
}

func (r faultyRecords) Put(e store.Export, chap *store.CHAP) error {
	err := r.Records.Put(e, chap)
	r.f.step("after put " + e.Volume)
	return err
}

func (r faultyRecords) Remove(e store.Export) error {
	err := r.Records.Remove(e)
	r.f.step("after remove " + e.Volume)
	return err
}

// arm makes the daemon die at a step of what comes next.
func (s *setup) arm(file string, step int) {
	s.T.Helper()
	_ = os.Remove(file + ".hit")
	s.must(os.WriteFile(file+".new", []byte(strconv.Itoa(step)), 0o600))
	s.must(os.Rename(file+".new", file))
}

// disarm says at which step the daemon died.
func (s *setup) disarm(file string) string {
	s.T.Helper()
	_ = os.Remove(file)
	what, err := os.ReadFile(file + ".hit")
	if err != nil {
		return ""
	}
	return string(what)
}

// faulty makes the target's daemon the one of this binary, and returns the file that arms it.
func (s *setup) faulty() string {
	s.T.Helper()
	self, err := os.Executable()
	s.must(err)
	file := filepath.Join(s.T.TempDir(), "step")
	s.target.Stop()
	d := s.target.Daemon
	d.Argv = []string{d.Argv[0], d.Argv[1], self}
	d.Env = []string{faultConfig + "=" + s.target.Config, faultStep + "=" + file}
	d.Start()
	return file
}
