package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portbind/portbind/hack/lab/vm"
	"github.com/portbind/portbind/hack/lab/wire"
)

// cluster is several guests on common switches.
type cluster struct {
	o        options
	scratch  string
	switches *switches
	members  map[string]*member
	names    []string
}

// member is one guest, booted or not.
type member struct {
	mu    sync.Mutex
	spec  vm.Spec
	sizes []string // of the disks
	guest *vm.Guest
}

// runWithGuests boots the guests and runs the program outside, in the namespace of their switches.
func runWithGuests(ctx context.Context, o options) (int, error) {
	scratch, err := os.MkdirTemp("", "lab-")
	if err != nil {
		return 0, fmt.Errorf("scratch: %w", err)
	}
	defer os.RemoveAll(scratch)
	c := &cluster{o: o, scratch: scratch, members: map[string]*member{}}
	defer c.end()
	if err := c.boot(ctx); err != nil {
		return 0, err
	}
	socket, err := c.listen()
	if err != nil {
		return 0, err
	}
	code, err := runHere(ctx, o, "LAB_SOCKET="+socket, "LAB_GUESTS="+strings.Join(c.names, ","))
	if err != nil || code != 0 {
		c.saveStates()
	}
	return code, err
}

func (c *cluster) boot(ctx context.Context) error {
	sw, err := newSwitches(c.o.cluster.separate)
	if err != nil {
		return err
	}
	c.switches = sw
	var group errgroup.Group
	for i, g := range c.o.cluster.guests {
		m, err := c.prepare(i, g)
		if err != nil {
			return fmt.Errorf("guest %s: %w", g.name, err)
		}
		c.members[g.name] = m
		c.names = append(c.names, g.name)
		group.Go(func() error { return m.boot(ctx) })
	}
	return group.Wait()
}

func (c *cluster) prepare(i int, g guestSpec) (*member, error) {
	nics, err := c.switches.plug(i, g.nics)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.scratch, g.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	spec := vm.Spec{
		Kind: c.o.kind, Name: g.name, Mem: g.mem, Modules: modules, Shared: []string{c.o.artefacts}, NICs: nics,
		Console: filepath.Join(c.o.artefacts, "console-"+g.name+".log"), Scratch: dir, PolicyRouting: strings.HasPrefix(g.name, "target"),
	}
	spec.State = filepath.Join(dir, "state")
	for n := range g.disks {
		spec.Disks = append(spec.Disks, filepath.Join(dir, fmt.Sprintf("disk%d", n)))
	}
	m := &member{spec: spec, sizes: g.disks}
	return m, m.makeDisks()
}

// makeDisks makes empty disks, and a file system for what survives a reboot on a real host's root file system.
func (m *member) makeDisks() error {
	if err := sparse(m.spec.State, "256M"); err != nil {
		return err
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", m.spec.State).CombinedOutput(); err != nil { //nolint:gosec // our path
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	for i, path := range m.spec.Disks {
		if err := sparse(path, m.sizes[i]); err != nil {
			return err
		}
	}
	return nil
}

func sparse(path, size string) error {
	n, err := bytesOf(size)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, n)
}

func (m *member) boot(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running() {
		return errors.New("it is running")
	}
	g, err := vm.Boot(ctx, m.spec)
	if err != nil {
		return err
	}
	m.guest = g
	return nil
}

func (m *member) running() bool {
	if m.guest == nil {
		return false
	}
	select {
	case <-m.guest.Gone():
		return false
	default:
		return true
	}
}

func (m *member) current() *vm.Guest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.guest
}

func (c *cluster) end() {
	for _, m := range c.members {
		if g := m.current(); g != nil {
			_ = g.Halt(grace, c.o.artefacts) // killed if it does not answer
		}
	}
}

func (c *cluster) saveStates() {
	for name, m := range c.members {
		if m.running() {
			saveState(m.current(), c.o, "state-"+name+".txt")
		}
	}
}

// listen serves requests to and about the guests.
func (c *cluster) listen() (string, error) {
	path := filepath.Join(c.scratch, "lab.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return "", fmt.Errorf("socket: %w", err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wire.NewSession(conn, false, c.serve)
		}
	}()
	return path, nil
}

const bootLimit = 2 * time.Minute
