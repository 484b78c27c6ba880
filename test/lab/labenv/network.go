//go:build lab

package labenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// targetNS is the network namespace that plays the target host. Besides the storage network there is a link for
// management, which scenarios do not cut: the controller's way to the target host.
const (
	targetNS   = "/run/netns/tgt"
	TargetMgmt = "10.98.0.1" // the target host's address there
	ownMgmt    = "10.98.0.2"
)

// Network is the storage network between initiator (the guest itself) and target (the namespace tgt).
type Network struct {
	NICs    []string // san0, san1, ...
	Addrs   []string // of the NICs
	Portals []string // addresses, without a port
	e       *Env
	rates   map[string]string // of shaped NICs
	dropped map[string]bool
}

// newNetwork lays a veth pair per NIC, its far end on a switch (bridge) in the target's namespace. The portals'
// addresses are on the switches.
func newNetwork(e *Env, o Options) *Network {
	n := &Network{e: e, rates: map[string]string{}, dropped: map[string]bool{}}
	fabric := func(i int) int {
		if o.Separate {
			return i % o.NICs
		}
		return 0
	}
	e.T.Cleanup(n.remove)
	near := []string{
		"netns add tgt", "link add mgmt0 type veth peer name m0 netns tgt", "addr add " + ownMgmt + "/24 dev mgmt0", "link set mgmt0 up",
	}
	far := []string{"link set lo up", "addr add " + TargetMgmt + "/24 dev m0", "link set m0 up"}
	for f := 0; f <= fabric(o.NICs-1); f++ {
		// An address of its own: by default a bridge has one of its ports', and changes it with them.
		far = append(far, fmt.Sprintf("link add br%d address 02:00:00:00:00:%02x type bridge", f, f), fmt.Sprintf("link set br%d up", f))
	}
	for i := range o.NICs {
		nic, addr := fmt.Sprintf("san%d", i), fmt.Sprintf("10.99.%d.%d", fabric(i), 10+i)
		n.NICs, n.Addrs = append(n.NICs, nic), append(n.Addrs, addr)
		near = append(near, fmt.Sprintf("link add %s type veth peer name p%d netns tgt", nic, i), "link set "+nic+" up",
			fmt.Sprintf("addr add %s/24 dev %s", addr, nic))
		far = append(far, fmt.Sprintf("link set p%d master br%d up", i, fabric(i)))
	}
	for j := range o.Portals {
		portal := fmt.Sprintf("10.99.%d.%d", fabric(j), 1+j)
		n.Portals = append(n.Portals, portal)
		far = append(far, fmt.Sprintf("addr add %s/24 dev br%d", portal, fabric(j)))
	}
	e.batch(near, "ip", "-batch", "-")
	e.batch(far, "ip", "-n", "tgt", "-batch", "-")
	for _, nic := range append([]string{"all"}, n.NICs...) {
		sameSubnet(e, nic)
	}
	return n
}

// batch hands many commands to one process: a fork costs 25 ms in User-Mode Linux.
func (e *Env) batch(lines []string, argv ...string) {
	e.T.Helper()
	_, err := run(context.Background(), strings.Join(lines, "\n")+"\n", argv...)
	e.must(err)
}

// sameSubnet makes a NIC answer for its own address only, and accept answers that the routing table would expect
// elsewhere: what two NICs in one subnet need.
func sameSubnet(e *Env, nic string) {
	for key, value := range map[string]string{"rp_filter": "2", "arp_ignore": "1", "arp_announce": "2"} {
		e.Write("/proc/sys/net/ipv4/conf/"+nic+"/"+key, value)
	}
}

func (n *Network) remove() {
	for _, nic := range append([]string{"mgmt0"}, n.NICs...) {
		_, _ = n.e.Try("ip", "link", "del", nic) // gone already if the namespace went first
	}
	_, _ = n.e.Try("ip", "netns", "del", "tgt")
}

func peer(nic string) string { return "p" + strings.TrimPrefix(nic, "san") }

// LinkDown takes a NIC's carrier away, as a cut cable does.
func (e *Env) LinkDown(nic string) {
	e.T.Helper()
	e.Run("ip", "-n", "tgt", "link", "set", peer(nic), "down")
}

// LinkUp gives the carrier back.
func (e *Env) LinkUp(nic string) {
	e.T.Helper()
	e.Run("ip", "-n", "tgt", "link", "set", peer(nic), "up")
}

// LongLine puts a stretch of line between a NIC's switch port and the switch on which frames towards the target are under way
// for a while (as netem(8) writes it, e.g. "700ms"). What is on it when the NIC's cable is cut still arrives. short takes it away.
func (e *Env) LongLine(nic, delay string) (short func()) {
	e.T.Helper()
	i := strings.TrimPrefix(nic, "san")
	far := func(lines ...string) { e.batch(lines, "ip", "-n", "tgt", "-batch", "-") }
	// Without ARP, or the target would answer at this end already.
	far("link set p"+i+" nomaster", "link add near"+i+" type bridge", "link set near"+i+" arp off up",
		"link add from"+i+" type veth peer name to"+i, "link set to"+i+" master br0 up",
		"link set from"+i+" master near"+i+" up", "link set p"+i+" master near"+i)
	e.Run("tc", "-n", "tgt", "qdisc", "add", "dev", "from"+i, "root", "netem", "delay", delay)
	return func() { far("link set p"+i+" master br0", "link del from"+i, "link del near"+i) }
}

// Drop makes a NIC's packets vanish in both directions while its link stays up.
func (e *Env) Drop(nic string) { e.T.Helper(); e.Net.dropped[nic] = true; e.Net.qdisc(nic) }

// Undrop ends Drop.
func (e *Env) Undrop(nic string) { e.T.Helper(); e.Net.dropped[nic] = false; e.Net.qdisc(nic) }

// Shape limits a NIC in both directions to a rate as tc(8) writes it, e.g. "200mbit"; "" ends it.
func (e *Env) Shape(nic, rate string) { e.T.Helper(); e.Net.rates[nic] = rate; e.Net.qdisc(nic) }

// qdisc puts what Drop and Shape ask for at both ends of a NIC's link.
func (n *Network) qdisc(nic string) {
	n.e.T.Helper()
	verb, what := "replace", ""
	switch {
	case n.dropped[nic]:
		what = " netem loss 100%"
	case n.rates[nic] != "":
		what = " tbf rate " + n.rates[nic] + " burst 256k latency 50ms"
	default:
		verb = "del"
	}
	n.e.Run(strings.Fields("tc qdisc " + verb + " dev " + nic + " root" + what)...)
	n.e.Run(strings.Fields("tc -n tgt qdisc " + verb + " dev " + peer(nic) + " root" + what)...)
}

// Bytes returns what a NIC received and sent so far.
func (e *Env) Bytes(nic string) (rx, tx uint64) {
	e.T.Helper()
	return e.counter(nic, "rx_bytes"), e.counter(nic, "tx_bytes")
}

func (e *Env) counter(nic, name string) uint64 {
	e.T.Helper()
	data, err := os.ReadFile(filepath.Join("/sys/class/net", nic, "statistics", name))
	e.must(err)
	v, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	e.must(err)
	return v
}
