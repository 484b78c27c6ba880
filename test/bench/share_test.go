//go:build lab

package bench

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// nicRate is what each NIC is shaped to: far below what the guest can do, so that the NICs are the limit.
const nicRate = "40mbit"

// TestShare writes at full speed over two NICs of the same rate, set up in each of the ways that hosts are.
func TestShare(t *testing.T) {
	labenv.Require(t, labenv.TBF, labenv.Bonding)
	tab := &table{
		Title: "Bytes per NIC", Header: []string{"", "MB/s", "against one bound", "by san0", "by san1"},
		Note: "Sequential writes of 128 KiB, 16 at a time, two portals, both NICs in one subnet and shaped to " + nicRate + ".",
	}
	s := &share{tab: tab}
	t.Run("bound", s.bound)
	t.Run("unbound", func(t *testing.T) { s.byHand(t, "two unbound NICs", func(*labenv.Env) {}) })
	t.Run("active-backup", func(t *testing.T) {
		s.byHand(t, "bond, active-backup", func(e *labenv.Env) { bond(e, "active-backup") })
	})
	t.Run("layer2", func(t *testing.T) {
		s.byHand(t, "bond, balance-xor by layer 2", func(e *labenv.Env) { bond(e, "balance-xor xmit_hash_policy layer2") })
	})
	publish(t, tab)
}

type share struct {
	tab *table
	one float64 // rate of one bound NIC
	two float64
}

// bound are volumes of the product over one interface and over both.
func (s *share) bound(t *testing.T) {
	b := newBed(t, linger("1s"))
	one := b.formatted("one", map[string]string{"interfaces": b.InterfaceNames()[0]})
	two := b.formatted("two", nil)
	one.call(one.Stage)
	two.call(two.Stage)
	shape(b.Env)
	s.one = s.measure(b.Env, "one bound NIC", one.StagingPath)
	s.two = s.measure(b.Env, "two bound NICs", two.StagingPath)
	unshape(b.Env)
	if s.two < 1.8*s.one {
		t.Errorf("two bound NICs carry %.2f times what one does; goal: 1.8", s.two/s.one)
	}
	for _, v := range []*volume{one, two} {
		v.call(v.Unstage)
		v.delete()
	}
	b.finish()
}

// byHand is multipath over the default, unbound iface, as iscsiadm makes it for who says nothing else.
func (s *share) byHand(t *testing.T, what string, network func(*labenv.Env)) {
	e := labenv.New(t, labenv.Options{})
	wwid := e.RawTarget(bareTarget).AddLUN(1, 256*mib)
	e.StartInitiator(labenv.InitiatorOptions{MultipathConf: plainConf, ConfD: map[string]string{}})
	network(e)
	b := newBare(e, bareTarget, 1, wwid)
	for _, portal := range e.Net.Portals {
		b.unbound(portal)
	}
	b.loginAgain()
	b.attach("")
	shape(e)
	s.measure(e, what, "/dev/mapper/"+wwid)
	unshape(e)
	b.detach("")
	b.logout()
}

// bond puts both NICs into a bond that takes over the first one's address.
func bond(e *labenv.Env, mode string) {
	e.T.Helper()
	e.Run(strings.Fields("ip link add bond0 type bond miimon 100 mode " + mode)...)
	e.T.Cleanup(func() { _, _ = e.Try("ip", "link", "del", "bond0") })
	for _, nic := range e.Net.NICs {
		e.Run("ip", "addr", "flush", "dev", nic)
		e.Run("ip", "link", "set", nic, "down")
		e.Run("ip", "link", "set", nic, "master", "bond0")
	}
	e.Run("ip", "addr", "add", e.Net.Addrs[0]+"/24", "dev", "bond0")
	e.Run("ip", "link", "set", "bond0", "up")
	e.Eventually(10*time.Second, "the portal to answer over the bond", func() bool {
		_, err := e.Try("ping", "-c", "1", "-W", "1", e.Net.Portals[0])
		return err == nil
	})
}

func shape(e *labenv.Env) {
	e.T.Helper()
	for _, nic := range e.Net.NICs {
		e.Shape(nic, nicRate)
	}
}

func unshape(e *labenv.Env) {
	e.T.Helper()
	for _, nic := range e.Net.NICs {
		e.Shape(nic, "")
	}
}

// measure writes for a while and adds a row. It returns bytes per second on the wire.
func (s *share) measure(e *labenv.Env, what, where string) float64 {
	e.T.Helper()
	fio := e.Fio(where, labenv.FioOptions{RW: "write", BS: "128k", Size: "48M", Depth: 16, NoVerify: true})
	begin := sent(e)
	waitFor(e.T, time.Minute, "fio to write at full speed", func() bool { // and the shapers' buckets to be used up
		now := sent(e)
		return now[0]+now[1]-begin[0]-begin[1] > 16*mib
	})
	const span = 8 * time.Second
	before := sent(e)
	time.Sleep(span)
	after := sent(e)
	fio.Stop()
	a, b := float64(after[0]-before[0]), float64(after[1]-before[1])
	rate := (a + b) / span.Seconds()
	against := 1.0
	if s.one > 0 {
		against = rate / s.one
	}
	s.tab.add(what, fmt.Sprintf("%.1f", rate/1e6), against, percent(a/(a+b)), percent(b/(a+b)))
	return rate
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func sent(e *labenv.Env) (tx [2]uint64) {
	e.T.Helper()
	for i := range tx {
		_, tx[i] = e.Bytes(e.Net.NICs[i])
	}
	return tx
}
