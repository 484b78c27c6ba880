// Package pathwatch says when a volume of this node loses paths, loses all of them, and has them again, and when a storage
// interface does: once for each change, however many paths and messages it consists of. It looks and tells; it changes
// nothing. Who is told, and what makes it look, is wired above.
package pathwatch

import (
	"net/netip"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/volume"
)

// View is what there is at one moment.
type View struct {
	// Interfaces are the node's, with and without a NIC.
	Interfaces binding.Resolution
	// Volumes are those staged here, by id.
	Volumes []Volume
}

// Volume is a staged volume: what paths it should have, and those that it has.
type Volume struct {
	ID string
	// Claim is whose volume it is, if known.
	Claim volume.Claim
	// Interfaces, Portals and Pairing make the session matrix; no interfaces means all that the node has.
	Interfaces []string
	Portals    []netip.AddrPort
	Pairing    binding.Pairing
	// Paths are as attach.Inspect gives them. Unknown: they could not be read, so nothing is said of the volume.
	Paths   []attach.Path
	Unknown bool
	// Fails says that I/O fails while no path works, instead of waiting.
	Fails bool
}

// Reasons of events.
const (
	// RedundancyLost: some of the paths are gone, or more than before.
	RedundancyLost = "RedundancyLost"
	// AllPathsLost: none is left; I/O waits.
	AllPathsLost = "AllPathsLost"
	// IOFails: none is left and I/O does not wait for one: the target has taken the volume away, or it is meant so.
	IOFails = "IOFails"
	// SomePathsBack: there was none and now there are some; I/O goes on.
	SomePathsBack = "SomePathsBack"
	// RedundancyRestored: all paths work again.
	RedundancyRestored = "RedundancyRestored"
	// InterfaceDown and InterfaceUp are of an interface of the node.
	InterfaceDown = "StorageInterfaceDown"
	InterfaceUp   = "StorageInterfaceUp"
	// SessionsLost is of all volumes together, in the health of the node's storage: there is no Event of it.
	SessionsLost = "SessionsLost"
)

// Event is one change, to be told once.
type Event struct {
	// Volume is the volume's id; empty for an event of the node itself. Claim is the volume's, if known.
	Volume string
	Claim  volume.Claim
	// Warning says that it is for the worse, or not yet well.
	Warning bool
	// Reason is one of the constants above, Message a sentence that says what is lost, why, and what is left.
	Reason, Message string
}
