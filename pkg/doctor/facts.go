package doctor

import (
	"net/netip"
	"time"

	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/nodeview"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Facts are what is known of a node. What could not be found out is nil, and in Unknown.
type Facts struct {
	// Configuration is what is wrong with the node plugin's configuration; nil: nothing.
	Configuration error
	// FailoverOff says that the configuration turns instant failover off.
	FailoverOff bool
	Node        *nodeview.Snapshot
	ISCSID      *ISCSID
	Multipathd  *Multipathd
	Kernel      *Kernel
	Multipath   *MultipathConf
	// Unbound are sessions of others that are bound to no NIC.
	Unbound []Unbound
	// Namesakes are other nodes with this one's initiator name.
	Namesakes []string
	// Managed are the maps that multipathd manages, by its WWID.
	Managed map[string]bool
	Probes  []Probe
	// Logins are those that are redirected, led nowhere, or are refused.
	Logins []Login
	// Duplicates are addresses of interfaces that other machines have, too.
	Duplicates []Duplicate
	// Portals are those to be tried whatever volumes there are.
	Portals []netip.AddrPort
	// Unknown says, by what was to be found out, why it could not.
	Unknown map[string]string
}

// Unbound is a session that the routing table leads.
type Unbound struct {
	sysfs.Session

	// Local is the address that it goes out from.
	Local netip.Addr
}

// ISCSID is the initiator's daemon.
type ISCSID struct {
	// Missing says that it is not installed.
	Missing bool
	// Listens says that it, or systemd in its place, does; PID is its process, 0 without one.
	Listens bool
	PID     int
	Version string
}

// Multipathd is dm-multipath's daemon.
type Multipathd struct {
	Missing bool
	// State is what it says of itself ("pid 412 idle"), Err why it does not answer.
	State string
	Err   error
	// Version is that of the tools.
	Version string
}

// Kernel is what the kernel can do.
type Kernel struct {
	// ISCSITCP says that there is iSCSI over TCP.
	ISCSITCP bool
	// Multipath is why there is no dm-multipath; nil: there is.
	Multipath error
	// Cut is how connections of a lost link are ended, CutErr why not better.
	Cut    tcpcut.Method
	CutErr error
}

// MultipathConf is multipathd's configuration.
type MultipathConf struct {
	// Effective is what multipathd has, or the files' content where it does not run.
	Effective string
	// FromFiles says that it is the latter.
	FromFiles bool
	// Own is the file with the section for our LUNs; empty when there is none.
	Own string
}

// Probe is what became of a connection from a NIC to a portal.
type Probe struct {
	Interface, NIC string
	Portal         netip.AddrPort
	// Err is why no connection could be made; then nothing else is known.
	Err  error
	Took time.Duration
	// Frame is the size of a full packet, of which the answer says whether it arrived: FrameErr is nil then.
	Frame    int
	FrameErr error
	// PathMTU is what the kernel takes for the largest packet on the way, NICMTU what the NIC takes.
	PathMTU, NICMTU int
}
