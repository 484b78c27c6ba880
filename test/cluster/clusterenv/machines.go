package clusterenv

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/portbind/portbind/hack/cluster/machine"
)

// Run runs a program in the machine and returns its output; failure fails the test.
func (m *Machine) Run(argv ...string) string {
	m.e.T.Helper()
	out, err := m.Try(argv...)
	m.e.must(err)
	return out
}

// Try is Run with the failure returned.
func (m *Machine) Try(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return m.Output(ctx, argv...)
}

// LinkDown pulls the plug of a storage NIC: the guest keeps its carrier, packets vanish.
func (m *Machine) LinkDown(nic string) { m.e.T.Helper(); m.e.must(m.Link(nic, false)) }

// LinkUp puts it in again.
func (m *Machine) LinkUp(nic string) { m.e.T.Helper(); m.e.must(m.Link(nic, true)) }

func (e *Env) plugIn(m *machine.Machine) {
	for _, nic := range []string{"mgmt", "san0", "san1"} {
		if err := m.Link(nic, true); err != nil {
			e.T.Errorf("cleanup: %v", err)
		}
	}
}

// Node is the machine of that name.
func (e *Env) Node(name string) *Machine {
	e.T.Helper()
	i := slices.IndexFunc(e.Nodes, func(m *Machine) bool { return m.Name == name })
	if i < 0 {
		e.T.Fatalf("no node %q", name)
	}
	return e.Nodes[i]
}

// Paths counts the paths of all multipath maps of the node, as the device mapper has them.
func (m *Machine) Paths() (active, failed int) {
	m.e.T.Helper()
	return paths(m.Run("dmsetup", "status", "--target", "multipath"))
}

// A path is its device's number, its state, and how often it failed. Groups have states too, behind numbers of their own.
var pathState = regexp.MustCompile(`\b\d+:\d+ ([AF]) (\d+)\b`)

// TryPaths is Paths, on a machine that may be off.
func (m *Machine) TryPaths() (active, failed int, err error) {
	status, err := m.Try("dmsetup", "status", "--target", "multipath")
	active, failed = paths(status)
	return active, failed, err
}

func paths(status string) (active, failed int) {
	for _, match := range pathState.FindAllStringSubmatch(status, -1) {
		if match[1] == "A" {
			active++
		} else {
			failed++
		}
	}
	return active, failed
}

// PathFailures counts how often paths of the node's multipath maps have failed since the maps were made.
func (m *Machine) PathFailures() int {
	m.e.T.Helper()
	return failures(m.Run("dmsetup", "status", "--target", "multipath"))
}

func failures(status string) int {
	sum := 0
	for _, match := range pathState.FindAllStringSubmatch(status, -1) {
		n, _ := strconv.Atoi(match[2]) // digits
		sum += n
	}
	return sum
}

// Eventually is Env.Eventually.
func (m *Machine) Eventually(timeout time.Duration, what string, ok func() bool) time.Duration {
	m.e.T.Helper()
	return m.e.Eventually(timeout, m.Name+": "+what, ok)
}

// PowerOff takes the machine's power away at once. Its disks keep what was written to them.
func (m *Machine) PowerOff() { m.e.T.Helper(); m.e.must(m.Kill()) }

// PowerOn boots it; its daemons and kubelet start by themselves.
func (m *Machine) PowerOn() { m.e.T.Helper(); m.e.must(m.Boot()) }
