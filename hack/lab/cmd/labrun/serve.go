package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/portbind/portbind/hack/lab/vm"
	"github.com/portbind/portbind/hack/lab/wire"
)

// serve answers one request of the program outside.
func (c *cluster) serve(st *wire.Stream) {
	m := c.members[st.Request.Guest]
	if m == nil {
		_ = st.Exit(wire.Result{Code: 1, Error: fmt.Sprintf("no guest %q; there are %v", st.Request.Guest, c.names)})
		return
	}
	switch st.Request.Op {
	case wire.OpExec, wire.OpDial:
		m.proxy(st)
	case wire.OpKill, wire.OpHalt:
		finish(st, m.power(st.Request.Op))
	case wire.OpBoot:
		ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
		defer cancel()
		finish(st, m.boot(ctx))
	case wire.OpWipe:
		finish(st, m.wipe())
	case wire.OpLink:
		finish(st, c.link(m, st.Request.Args["nic"], st.Request.Args["state"] == "up"))
	default:
		finish(st, fmt.Errorf("unknown operation %q", st.Request.Op))
	}
}

func finish(st *wire.Stream, err error) {
	r := wire.Result{}
	if err != nil {
		r = wire.Result{Code: 1, Error: err.Error()}
	}
	_ = st.Exit(r)
}

func (m *member) power(op string) error {
	g := m.current()
	if !m.running() {
		return nil
	}
	if op == wire.OpKill {
		g.Kill()
		return nil
	}
	return g.Halt(grace)
}

// wipe makes the disks anew.
func (m *member) wipe() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running() {
		return errors.New("it is running")
	}
	return m.makeDisks()
}

func (c *cluster) link(m *member, nic string, on bool) error {
	i := slices.IndexFunc(m.spec.NICs, func(n vm.NIC) bool { return n.Name == nic })
	if i < 0 {
		return fmt.Errorf("no NIC %q", nic)
	}
	return c.switches.setPlugged(m.spec.NICs[i], on)
}

// proxy passes a stream on to the guest's agent.
func (m *member) proxy(st *wire.Stream) {
	if !m.running() {
		finish(st, fmt.Errorf("guest %s is off", m.spec.Name))
		return
	}
	inner, err := m.current().Open(st.Request)
	if err != nil {
		finish(st, err)
		return
	}
	go func() {
		for {
			f, err := st.Recv()
			if err != nil {
				// The program outside is gone, or the stream has ended anyway.
				_ = inner.Send(wire.Signal, []byte{9})
				return
			}
			_ = inner.Send(f.Kind, f.Data)
		}
	}()
	finishProxy(st, inner)
}

func finishProxy(st, inner *wire.Stream) {
	for {
		f, err := inner.Recv()
		switch {
		case err != nil:
			_ = st.Exit(wire.Result{Code: exitLabFailed, Error: "the guest ended"})
			return
		case f.Kind == wire.Exit:
			var r wire.Result
			if err := json.Unmarshal(f.Data, &r); err != nil {
				r = wire.Result{Code: exitLabFailed, Error: err.Error()}
			}
			_ = st.Exit(r)
			return
		default:
			_ = st.Send(f.Kind, f.Data)
		}
	}
}
