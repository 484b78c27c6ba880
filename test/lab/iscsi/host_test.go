//go:build lab

// Package iscsi holds what pkg/iscsi, pkg/sysfs, pkg/binding and pkg/hostexec promise against the real kernel, the real
// open-iscsi and a real target.
package iscsi

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	target    = "iqn.2026-11.io.portbind.lab:iscsi"
	initiator = "iqn.2026-11.io.portbind:lab"
)

// recordingHost remembers the command lines that were run.
type recordingHost struct {
	*hostexec.Local
	mu    sync.Mutex
	lines []string
}

func (h *recordingHost) Run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	h.mu.Lock()
	h.lines = append(h.lines, strings.Join(append([]string{name}, args...), " "))
	h.mu.Unlock()
	return h.Local.Run(ctx, stdin, name, args...)
}

// count says how many programs were run since the last call.
func (h *recordingHost) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.lines)
	h.lines = nil
	return n
}

// scene is a target with two portals, an initiator with two NICs in the same subnet, and the Client under test.
type scene struct {
	*labenv.Env
	t      *testing.T
	target *labenv.RawTarget
	daemon *labenv.Initiator
	host   *recordingHost
	client *iscsi.Client
	matrix []binding.Pair
}

func newScene(t *testing.T) *scene {
	t.Helper()
	labenv.Require(t, labenv.ISCSI, labenv.LIO)
	e := labenv.New(t, labenv.Options{})
	s := &scene{Env: e, t: t, target: e.RawTarget(target), host: &recordingHost{Local: hostexec.New(hostexec.Options{})}}
	s.daemon = e.StartInitiator(labenv.InitiatorOptions{})
	s.client = iscsi.New(iscsi.Options{Host: s.host})
	s.matrix = s.resolve()
	return s
}

// resolve goes the way of the node plugin: configuration, NICs, matrix.
func (s *scene) resolve() []binding.Pair {
	s.t.Helper()
	config := binding.Config{Interfaces: []binding.InterfaceConfig{{Name: "san-a", NetDev: "san0"}, {Name: "san-b", NetDev: "san1"}}}
	s.must(config.Validate())
	nics, err := binding.NICs()
	s.must(err)
	interfaces, err := binding.Resolve(config, nics).Select([]string{"san-a", "san-b"})
	s.must(err)
	var portals []netip.AddrPort
	for _, portal := range s.Net.Portals {
		portals = append(portals, netip.AddrPortFrom(netip.MustParseAddr(portal), 3260))
	}
	pairs, err := binding.Matrix(interfaces, portals, binding.PairingAuto)
	s.must(err)
	return pairs
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// node is the record of a pair.
func node(p binding.Pair) iscsi.Node {
	return iscsi.Node{
		Target: target, Portal: p.Portal, Timers: iscsi.FastTimers(),
		Iface: iscsi.Iface{Interface: p.Interface.Name, NIC: p.Interface.NIC, Initiator: initiator},
	}
}

// records writes the iface and node record of one session.
func (s *scene) records(n iscsi.Node) {
	s.t.Helper()
	s.must(s.client.EnsureIface(s.t.Context(), n.Iface))
	s.must(s.client.EnsureNode(s.t.Context(), n))
}

// loginAll brings the whole matrix up, all logins at once.
func (s *scene) loginAll() {
	s.t.Helper()
	var wg sync.WaitGroup
	for _, pair := range s.matrix {
		s.records(node(pair))
		wg.Go(func() {
			if err := s.client.Login(s.t.Context(), node(pair).ID()); err != nil {
				s.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// tearDown logs out all that is ours, removes the records, and wants nothing left.
func (s *scene) tearDown() {
	s.t.Helper()
	for _, session := range s.sessions() {
		s.must(s.client.Logout(s.t.Context(), session.ID, id(session)))
	}
	nodes, err := s.client.Nodes(s.t.Context())
	s.must(err)
	for _, n := range nodes {
		s.must(s.client.RemoveNode(s.t.Context(), n))
	}
	for _, pair := range s.matrix {
		s.must(s.client.RemoveIface(s.t.Context(), pair.Interface.Name))
	}
	s.Clean(s.t)
}

// sessions are ours.
func (s *scene) sessions() []sysfs.Session {
	s.t.Helper()
	all, err := sysfs.Default.Sessions()
	s.must(err)
	var ours []sysfs.Session
	for _, session := range all {
		if _, ok := iscsi.InterfaceOf(session.Iface); ok {
			ours = append(ours, session)
		}
	}
	return ours
}

func (s *scene) loggedIn() int {
	n := 0
	for _, session := range s.sessions() {
		if session.LoggedIn() {
			n++
		}
	}
	return n
}

func id(session sysfs.Session) iscsi.NodeID {
	name, _ := iscsi.InterfaceOf(session.Iface)
	return iscsi.NodeID{Target: session.Target, Portal: session.Persistent, Interface: name}
}

// connection reads an attribute of a session's connection.
func connection(session int, name string) string {
	data, err := os.ReadFile(fmt.Sprintf("/sys/class/iscsi_connection/connection%d:0/%s", session, name))
	if err != nil {
		return "" // as without a connection
	}
	return strings.TrimSpace(string(data))
}

// timed logs how long something took and how many programs it ran.
func (s *scene) timed(what string, f func()) time.Duration {
	s.t.Helper()
	s.host.count()
	start := time.Now()
	f()
	took := time.Since(start)
	s.t.Logf("%-44s %8.2f ms, %d programs", what, float64(took.Microseconds())/1000, s.host.count())
	return took
}
