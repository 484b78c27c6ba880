// Package binding says which NICs of this node carry iSCSI. An administrator gives the storage ports of every
// node common names (interfaces: "san-a"); here each name becomes a NIC of this node, and interfaces and portals
// become the session matrix: the bound sessions that should exist.
package binding

import "net/netip"

// Interface is one storage port of this node, by its cluster-wide name.
type Interface struct {
	// Name is the name that StorageClasses use, 1 to 32 of [a-z0-9-].
	Name string
	// NIC is the network device on this node, such as "eth2".
	NIC string
	// MAC is the NIC's hardware address, lower case with colons.
	MAC string
	// Addrs are the NIC's global unicast addresses with their prefix lengths.
	Addrs []netip.Prefix
	// Up says that the NIC is administratively up and has a carrier.
	Up bool
}

// Pairing says which interfaces meet which portals.
type Pairing string

const (
	// PairingAuto pairs an interface with the portals on its own subnets, and with every portal when no portal
	// is on any of them (routed).
	PairingAuto Pairing = "auto"
	// PairingMesh pairs every interface with every portal.
	PairingMesh Pairing = "mesh"
	// PairingFabric pairs an interface only with portals on its own subnets.
	PairingFabric Pairing = "fabric"
)

// Pair is one bound session that should exist: an interface and a portal.
type Pair struct {
	Interface Interface
	Portal    netip.AddrPort
}
