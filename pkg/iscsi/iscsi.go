// Package iscsi drives open-iscsi: iface and node records, login and logout. Records are written as files, so no
// secret is ever in a command line and no program is started for them; sessions are opened and closed by iscsiadm and
// iscsid. Only records and sessions whose iface carries our own prefix are ever touched.
package iscsi

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/portbind/portbind/pkg/hostexec"
)

// ifacePrefix marks what is ours among the records and sessions of the host.
const ifacePrefix = "pb-"

// IfaceName is the name of the iface record of an interface.
func IfaceName(iface string) string { return ifacePrefix + iface }

// InterfaceOf is the inverse of IfaceName. It is false for records of others.
func InterfaceOf(ifaceName string) (string, bool) {
	name, ok := strings.CutPrefix(ifaceName, ifacePrefix)
	return name, ok && name != ""
}

// Host is where open-iscsi runs: hostexec.Local.
type Host interface {
	hostexec.Runner
	// InHost calls fn with the host's files in view.
	InHost(fn func() error) error
}

// Options of a Client. Only Host is required.
type Options struct {
	// Host runs the programs and shows the files of the host.
	Host Host
	// DBRoot is the directory that holds ifaces and nodes. Empty: asked from the installed iscsiadm.
	DBRoot string
	// ConfigFile is open-iscsi's own configuration, by default /etc/iscsi/iscsid.conf. What an administrator tuned
	// there goes into our records, save what is ours to say.
	ConfigFile string
	// Sys and Proc are where sysfs and procfs of our network namespace are mounted, by default /sys and /proc.
	Sys, Proc string
}

// Client drives the open-iscsi of one host. It is safe for concurrent use; calls about different sessions run
// concurrently.
type Client struct {
	host       Host
	configFile string
	sys, proc  string
	// kernel sends a request to the kernel's iSCSI: askKernel.
	kernel func(request []byte) (answer []byte, err error)

	// mu guards dbRoot and orders changes of records; it is never held while a program runs.
	mu     sync.Mutex
	dbRoot string
}

// New returns a Client.
func New(o Options) *Client {
	pick := func(s, byDefault string) string {
		if s == "" {
			return byDefault
		}
		return s
	}
	return &Client{
		host: o.Host, dbRoot: o.DBRoot, kernel: askKernel,
		configFile: pick(o.ConfigFile, "/etc/iscsi/iscsid.conf"),
		sys:        pick(o.Sys, "/sys"), proc: pick(o.Proc, "/proc"),
	}
}

// Iface is what an iface record says.
type Iface struct {
	// Interface is the interface's name; the record's name is IfaceName of it.
	Interface string
	// NIC is the network device that sessions are bound to.
	NIC string
	// Initiator is the name that sessions log in with.
	Initiator string
}

// NodeID names one bound session and its node record.
type NodeID struct {
	// Target is its IQN.
	Target string
	// Portal is where the session logs in; after a redirect it may be elsewhere.
	Portal netip.AddrPort
	// Interface is the interface's name.
	Interface string
}

// CHAP holds what initiator and target prove to each other. Secrets: never logged, never in an error.
type CHAP struct {
	User, Secret string
	// TargetUser and TargetSecret are for mutual CHAP, both or neither.
	TargetUser, TargetSecret string
}

// String keeps the secrets out of what is printed by accident.
func (CHAP) String() string { return "CHAP{...}" }

// GoString is for %#v.
func (CHAP) GoString() string { return "CHAP{...}" }

// Timers say how fast a lost path is noticed. All are whole seconds, at least 1.
type Timers struct {
	// A session that received nothing for NoopInterval sends a NOP-Out and is lost when no answer came within
	// NoopTimeout.
	NoopInterval, NoopTimeout time.Duration
	// Replacement is how long commands wait for a lost session before they fail to dm-multipath. multipathd
	// overwrites it with its fast_io_fail_tmo in each session that has a path in a map.
	Replacement time.Duration
	// Login bounds one login attempt.
	Login time.Duration
}

// FastTimers fail a silent path over within 5 s: an idle connection is probed after 2 s, the answer may take 2 s, and 1 s later its I/O
// goes to another path. That is our LUNs' fast_io_fail_tmo, too: multipathd does not write it to the session of a path that udev had not
// handled when it took the map. A path given up too early comes back by itself; nothing is lost by it.
func FastTimers() Timers {
	return Timers{NoopInterval: 2 * time.Second, NoopTimeout: 2 * time.Second, Replacement: time.Second, Login: 5 * time.Second}
}

// QuickTimers fail a silent path over within 4 s: it is lost 2 s after it was last heard, and 1 s later its I/O goes to another. That is
// as fast as iscsid and multipathd can be told, which count in seconds. A target that pauses for 2 s loses its paths for a moment.
func QuickTimers() Timers {
	return Timers{NoopInterval: time.Second, NoopTimeout: time.Second, Replacement: time.Second, Login: 5 * time.Second}
}

// TolerantTimers are for networks that lose packets for seconds now and then: a stall ends within 16 s.
func TolerantTimers() Timers {
	return Timers{NoopInterval: 5 * time.Second, NoopTimeout: 5 * time.Second, Replacement: 5 * time.Second, Login: 15 * time.Second}
}

// Sooner gives the shorter of each.
func (t Timers) Sooner(u Timers) Timers {
	return Timers{
		NoopInterval: min(t.NoopInterval, u.NoopInterval), NoopTimeout: min(t.NoopTimeout, u.NoopTimeout),
		Replacement: min(t.Replacement, u.Replacement), Login: min(t.Login, u.Login),
	}
}

// Node is what a node record says.
type Node struct {
	Target string
	Portal netip.AddrPort
	Iface  Iface
	// CHAP is nil when the target does not ask for it.
	CHAP *CHAP
	// KeepCHAP takes the secrets of the record that is there, if any, in the place of CHAP: for who does not know them.
	KeepCHAP bool
	Timers   Timers
}

// ID is what names the record.
func (n Node) ID() NodeID {
	return NodeID{Target: n.Target, Portal: n.Portal, Interface: n.Iface.Interface}
}
