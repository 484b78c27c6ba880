// Package machine reaches the lab's guests from outside, through the socket of the program that runs them.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/portbind/portbind/hack/lab/wire"
)

// Set is all guests behind one socket.
type Set struct {
	conn    net.Conn
	session *wire.Session
}

// Machine is one guest. It may be off.
type Machine struct {
	Name string
	Addr string // on the management network
	// Index counts from 0, in the order of lab.guests.
	Index   int
	session *wire.Session
}

// Outside is our own address on the guests' management network.
const Outside = "10.70.0.1"

// Names are the guests of the cluster, as guests/lab.guests has them, in its order.
func Names() []string { return []string{"target", "node1", "node2"} }

// Connect reaches the guests through the socket.
func Connect(socket string) (*Set, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("the lab's socket: %w", err)
	}
	return &Set{conn: conn, session: wire.NewSession(conn, true, nil)}, nil
}

// Close ends what runs in the guests on our behalf.
func (s *Set) Close() error { return s.conn.Close() }

// All are the machines in their order.
func (s *Set) All() []*Machine {
	var all []*Machine
	for i, name := range Names() {
		all = append(all, &Machine{Name: name, Addr: fmt.Sprintf("10.70.0.%d", 10+i), Index: i, session: s.session})
	}
	return all
}

// With are those whose names have the prefix.
func (s *Set) With(prefix string) []*Machine {
	var some []*Machine
	for _, m := range s.All() {
		if strings.HasPrefix(m.Name, prefix) {
			some = append(some, m)
		}
	}
	return some
}

// Run runs a program in the guest until it ends or ctx does, with its output going to the writer.
func (m *Machine) Run(ctx context.Context, out io.Writer, argv ...string) error {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C"}
	st, err := m.session.Open(wire.Request{Op: wire.OpExec, Guest: m.Name, Argv: argv, Env: env, Dir: "/"})
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	ended := context.AfterFunc(ctx, func() { _ = st.Send(wire.Signal, []byte{9}) })
	defer ended()
	if err := st.Send(wire.EOF, nil); err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	var stderr bytes.Buffer
	r, err := st.Wait(out, &stderr)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s%s", r.Code, r.Error, strings.TrimSpace(stderr.String()))
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", m.Name, strings.Join(argv, " "), err)
	}
	return nil
}

// Output runs a program in the guest and returns what it printed.
func (m *Machine) Output(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	err := m.Run(ctx, &out, argv...)
	return out.String(), err
}

// Dial connects to an address inside the guest, over the lab's channel to it. It is a dialer for grpc.WithContextDialer.
func (m *Machine) Dial(_ context.Context, network, address string) (net.Conn, error) {
	conn, err := m.session.Dial(m.Name, network, address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	return conn, nil
}

// Link plugs the guest's NIC into its switch or takes it off. The guest keeps its carrier: packets vanish.
func (m *Machine) Link(nic string, up bool) error {
	state := "down"
	if up {
		state = "up"
	}
	return m.request(wire.Request{Op: wire.OpLink, Args: map[string]string{"nic": nic, "state": state}})
}

// Kill takes the guest's power away.
func (m *Machine) Kill() error { return m.request(wire.Request{Op: wire.OpKill}) }

// Boot boots a guest that is off; labcluster then starts on it what belongs there.
func (m *Machine) Boot() error { return m.request(wire.Request{Op: wire.OpBoot}) }

func (m *Machine) request(req wire.Request) error {
	req.Guest = m.Name
	st, err := m.session.Open(req)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	r, err := st.Wait(nil, nil)
	if err == nil && r.Code != 0 {
		err = errors.New(r.Error)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", m.Name, req.Op, err)
	}
	return nil
}
