// Package attach makes one block device of a LUN that is reached over several bound iSCSI sessions, and takes it
// apart again. One verb a file: attach, detach, resize, inspect, heal.
package attach

import (
	"net/netip"

	"github.com/portbind/portbind/pkg/binding"
)

// Spec says what to attach. All of it is validated by who makes it (pkg/volume).
type Spec struct {
	// Target is the IQN of the target, Portals where it listens.
	Target  string
	Portals []netip.AddrPort
	// LUN is the logical unit number that the target gave to this initiator.
	LUN int
	// WWID is what every path must report in /sys/block/sdX/device/wwid, such as "naa.6001405...". Empty: the
	// paths must agree with each other, and Device.WWID says what they reported.
	WWID string
	// Interfaces are names of interfaces of this node, in the order of the StorageClass; none means all that it has.
	Interfaces []string
	Pairing    binding.Pairing
	// MinPaths is how many paths the map must have before it may be used; at least 1.
	MinPaths int
	// Initiator is the IQN that the sessions use.
	Initiator string
	// CHAP is nil when the target does not ask for it. Secret.
	CHAP *CHAP
	// Policy is how I/O uses the paths. It needs a WWID of which multipathd's name follows; without one it is left alone.
	Policy Policy
}

// Policy says how I/O uses the paths of a volume; empty fields are as multipath.Policy has it.
type Policy struct {
	// PathSelector, PathGroupingPolicy and NoPathRetry are as in multipath.Rules.
	PathSelector, PathGroupingPolicy string
	// PreferredInterface carries the I/O while one of its paths works.
	PreferredInterface string
	NoPathRetry        string
	// FailureDetection is DetectFast, or empty: as the Attacher's Timers say. Volumes of one target share its sessions: those of
	// a node are fast while one of its volumes is to be.
	FailureDetection string
}

// DetectFast gives up a path that answers no more after iscsi.QuickTimers.
const DetectFast = "fast"

// CHAP holds what initiator and target prove to each other. Secrets: never logged, never in an error.
type CHAP struct {
	User, Secret string
	// TargetUser and TargetSecret are for mutual CHAP, both or neither.
	TargetUser, TargetSecret string
}

// Device is an attached volume.
type Device struct {
	// WWID as in Spec.
	WWID string
	// Path is the block device to use: /dev/mapper/<wwid>. Its identity was checked by the map's dm UUID.
	Path string
	// Major and Minor are the device number of the map.
	Major, Minor uint32
	SizeBytes    int64
	// Paths of the map, in a stable order.
	Paths []Path
	// Lacks is how many paths were not there yet when Attach returned: Heal adds them.
	Lacks int
	// Fails says that I/O fails while no path works, instead of waiting for one.
	Fails bool
}

// Path is one disk of one bound session.
type Path struct {
	// Interface is the name ("san-a"), NIC the network device, Portal where the session is connected.
	Interface, NIC string
	Portal         netip.AddrPort
	// Asked is the portal that the session logs in at: after a redirect it is not the one above.
	Asked netip.AddrPort
	// Session is the session's number (session7 -> 7), HCTL the SCSI address, Disk the kernel's name ("sdb").
	Session int
	HCTL    string
	Disk    string
	// SessionState is the kernel's (LOGGED_IN, FAILED, FREE); State is the map's view: active or failed, and
	// missing when the path is not in the map.
	SessionState string
	State        string
}
