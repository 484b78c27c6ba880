//go:build lab

package labenv

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/hack/lab/wire"
)

// Cluster is several guests on common switches. The test runs outside of them, in their switches' namespace; a file
// lab.guests in the package's directory says which guests there are (hack/lab/README.md).
type Cluster struct {
	*Env
	Guests  map[string]*Guest
	session *wire.Session
}

// Guest is one of a Cluster's machines.
type Guest struct {
	Name string
	Mgmt string   // address on the management network, reachable from the test
	San  []string // addresses of san0, san1, ...
	c    *Cluster
}

// OutsideMgmt is the test's own address on the management network.
const OutsideMgmt = "10.70.0.1"

// NewCluster returns the guests, all of them running, with all links up. What a test starts in them ends with it.
func NewCluster(t *testing.T) *Cluster {
	t.Helper()
	socket := os.Getenv("LAB_SOCKET")
	if socket == "" {
		t.Fatal("not among guests: run with go test -tags lab -exec hack/lab/run, in a directory with lab.guests")
	}
	c := &Cluster{Env: bareEnv(t), Guests: map[string]*Guest{}}
	conn, err := net.Dial("unix", socket)
	c.must(err)
	t.Cleanup(func() { _ = conn.Close() })
	c.session = wire.NewSession(conn, true, nil)
	for i, name := range strings.Split(os.Getenv("LAB_GUESTS"), ",") {
		c.Guests[name] = &Guest{Name: name, Mgmt: fmt.Sprintf("10.70.0.%d", 10+i), c: c}
	}
	for _, g := range c.Guests {
		g.await()
		for addr := range strings.FieldsSeq(g.Run("sh", "-c", "ip -4 -o addr show | awk '$2 ~ /^san/ {print $4}'")) {
			g.San = append(g.San, strings.TrimSuffix(addr, "/24"))
		}
	}
	return c
}

// Guest returns the guest of a name.
func (c *Cluster) Guest(name string) *Guest {
	c.T.Helper()
	g := c.Guests[name]
	if g == nil {
		c.T.Fatalf("no guest %q in lab.guests", name)
	}
	return g
}

// await boots the guest if an earlier test left it off, and switches its links on.
func (g *Guest) await() {
	g.c.T.Helper()
	if _, err := g.Try(5*time.Second, "true"); err != nil {
		g.Kill()
		g.Boot()
	}
	for _, nic := range []string{"mgmt", "san0", "san1"} {
		_ = g.request(wire.Request{Op: wire.OpLink, Args: map[string]string{"nic": nic, "state": "up"}}) // not all have all
	}
}

func (g *Guest) request(req wire.Request) error {
	req.Guest = g.Name
	st, err := g.c.session.Open(req)
	if err != nil {
		return err
	}
	r, err := st.Wait(nil, nil)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("guest %s: %s: %s", g.Name, req.Op, r.Error)
	}
	return err
}

func (g *Guest) do(req wire.Request) { g.c.T.Helper(); g.c.must(g.request(req)) }

// Kill takes the power away at once. Disks keep what was written to them.
func (g *Guest) Kill() { g.c.T.Helper(); g.do(wire.Request{Op: wire.OpKill}) }

// Halt writes file systems back and powers off.
func (g *Guest) Halt() { g.c.T.Helper(); g.do(wire.Request{Op: wire.OpHalt}) }

// Boot boots a guest that is off and returns when its agent answers.
func (g *Guest) Boot() { g.c.T.Helper(); g.do(wire.Request{Op: wire.OpBoot}) }

// Crash makes the kernel panic, then boots the guest again.
func (g *Guest) Crash() {
	g.c.T.Helper()
	_, _ = g.Try(20*time.Second, "sh", "-c", "echo c > /proc/sysrq-trigger")
	g.Kill()
	g.Boot()
}

// LinkDown switches off the port that the guest's NIC is plugged into. The guest keeps its carrier: packets vanish.
func (g *Guest) LinkDown(nic string) { g.c.T.Helper(); g.link(nic, "down") }

// LinkUp switches it on again.
func (g *Guest) LinkUp(nic string) { g.c.T.Helper(); g.link(nic, "up") }

func (g *Guest) link(nic, state string) {
	g.c.T.Helper()
	g.do(wire.Request{Op: wire.OpLink, Args: map[string]string{"nic": nic, "state": state}})
}

// Run runs a program in the guest and returns its output; failure fails the test.
func (g *Guest) Run(argv ...string) string {
	g.c.T.Helper()
	out, err := g.Try(2*time.Minute, argv...)
	g.c.must(err)
	return out
}

// Try is Run with the failure returned.
func (g *Guest) Try(limit time.Duration, argv ...string) (string, error) {
	st, err := g.open(argv)
	if err != nil {
		return "", err
	}
	timer := time.AfterFunc(limit, func() { _ = st.Send(wire.Signal, []byte{9}) })
	defer timer.Stop()
	_ = st.Send(wire.EOF, nil)
	var stdout, stderr bytes.Buffer
	r, err := st.Wait(&stdout, &stderr)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("guest %s: %s: exit code %d %s: %s", g.Name, strings.Join(argv, " "), r.Code, r.Error, stderr.String())
	}
	return stdout.String(), err
}

func (g *Guest) open(argv []string) (*wire.Stream, error) {
	return g.c.session.Open(wire.Request{Op: wire.OpExec, Guest: g.Name, Argv: argv, Env: os.Environ(), Dir: "/"})
}

// WriteFile writes a file in the guest, mode 0600.
func (g *Guest) WriteFile(path string, data []byte) {
	g.c.T.Helper()
	st, err := g.open([]string{"sh", "-c", `umask 077; mkdir -p "$(dirname "$0")"; cat > "$0"; sync "$0" "$(dirname "$0")"`, path})
	g.c.must(err)
	g.c.must(st.Send(wire.Stdin, data))
	g.c.must(st.Send(wire.EOF, nil))
	r, err := st.Wait(nil, nil)
	g.c.must(err)
	if r.Code != 0 {
		g.c.T.Fatalf("guest %s: write %s: exit code %d", g.Name, path, r.Code)
	}
}

// Process is a program that goes on in a guest, its output in the artefacts.
type Process struct {
	Name string
	Log  string
	g    *Guest
	st   *wire.Stream
	done chan struct{}
	res  wire.Result
}

// Start starts a program in the guest; it is killed at the test's end.
func (g *Guest) Start(name string, argv ...string) *Process {
	g.c.T.Helper()
	p := &Process{Name: name, Log: filepath.Join(g.c.Artefacts, g.Name+"-"+name+".log"), g: g, done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	g.c.must(err)
	p.st, err = g.open(argv)
	g.c.must(err)
	go func() {
		defer close(p.done)
		defer log.Close()
		p.res, err = p.st.Wait(log, log)
		if err != nil {
			p.res = wire.Result{Code: -1, Error: err.Error()}
		}
	}()
	g.c.T.Cleanup(func() { p.Signal(9) })
	return p
}

// Signal sends a signal by its number; a program that has ended takes none.
func (p *Process) Signal(sig byte) { _ = p.st.Send(wire.Signal, []byte{sig}) }

// Running tells whether the program has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the program's end and returns its exit code, 128+n for signal n.
func (p *Process) Wait(timeout time.Duration) int {
	p.g.c.T.Helper()
	p.g.c.Eventually(timeout, p.Name+" ends", func() bool { return !p.Running() })
	return p.res.Code
}

// Dial connects to an address inside the guest, over the agent's channel: it works with every network cut. It is a
// dialer for grpc.WithContextDialer.
func (g *Guest) Dial(_ context.Context, network, address string) (net.Conn, error) {
	return g.c.session.Dial(g.Name, network, address)
}
