// Package view is what Portbind's commands show: rows of interfaces, sessions, paths and volumes, findings of the doctor, and how
// both are printed. It knows nothing of where they come from, so it is the same on a node and on a user's machine of any system.
package view

import (
	"net/netip"
	"time"
)

// Row is a line of a table.
type Row interface {
	Interface | Session | Path | Volume
	cells() []cell
}

// Place is where a row was seen.
type Place struct {
	// Node is empty in what a node says of itself.
	Node string `json:"node,omitempty"`
}

func (p *Place) put(node string) { p.Node = node }

// On says of rows that they were seen on a node.
func On[R Row](node string, rows []R) {
	for i := range rows {
		if row, ok := any(&rows[i]).(interface{ put(node string) }); ok {
			row.put(node)
		}
	}
}

// Interface is a storage interface of a node.
type Interface struct {
	Place

	Name string `json:"name"`
	NIC  string `json:"nic,omitempty"`
	// State is Compliant, or the most important thing that is wrong.
	State string `json:"state"`
	// Message and Fix are of the most important thing that is wrong; of a NIC that is well Message may say what it is.
	Message   string         `json:"message,omitempty"`
	Fix       string         `json:"fix,omitempty"`
	MAC       string         `json:"mac,omitempty"`
	Kind      string         `json:"kind,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Carrier   bool           `json:"carrier"`
	MTU       int            `json:"mtu,omitempty"`
	SpeedMbps int            `json:"speedMbps,omitempty"`
	// Sessions are those that are logged in, of SessionsTotal that are there or should be. SessionsExpected are those that the
	// volumes need; it may be less, as sessions outlive their volumes for a while.
	Sessions         int    `json:"sessions"`
	SessionsTotal    int    `json:"sessionsTotal"`
	SessionsExpected int    `json:"sessionsExpected"`
	RxBytes          uint64 `json:"rxBytes"`
	TxBytes          uint64 `json:"txBytes"`
	// Flaps is how often the NIC lost its link since it was made; nil when not known.
	Flaps *int `json:"flaps,omitempty"`
	// SampledAt is when the NIC's counters were read, by the node's clock.
	SampledAt time.Time `json:"sampledAt,omitzero"`
	// RxRate and TxRate, in bytes per second, are known from the second look on.
	RxRate *float64 `json:"rxBytesPerSecond,omitempty"`
	TxRate *float64 `json:"txBytesPerSecond,omitempty"`
}

// Session is a bound session.
type Session struct {
	Place

	ID        int    `json:"id"`
	State     string `json:"state"`
	Interface string `json:"interface"`
	NIC       string `json:"nic,omitempty"`
	// Portal is where the session is connected, Asked where it logs in: they differ after a login redirect.
	Portal          netip.AddrPort `json:"portal,omitzero"`
	Asked           netip.AddrPort `json:"asked,omitzero"`
	Target          string         `json:"target"`
	Initiator       string         `json:"initiator,omitempty"`
	RecoveryTimeout int            `json:"recoveryTimeoutSeconds"`
	NoopInterval    int            `json:"noopIntervalSeconds"`
	NoopTimeout     int            `json:"noopTimeoutSeconds"`
	Disks           []string       `json:"disks,omitempty"`
}

// Path is a path of a volume, or one that should be there.
type Path struct {
	Place

	Volume    string         `json:"volume"`
	Claim     string         `json:"claim,omitempty"`
	Interface string         `json:"interface"`
	NIC       string         `json:"nic,omitempty"`
	Portal    netip.AddrPort `json:"portal,omitzero"`
	// Session is the session's number; 0 without one.
	Session      int    `json:"session,omitempty"`
	SessionState string `json:"sessionState,omitempty"`
	Disk         string `json:"disk,omitempty"`
	HCTL         string `json:"hctl,omitempty"`
	DiskState    string `json:"diskState,omitempty"`
	// State is the map's view: active, failed, or missing.
	State string `json:"state"`
	Map   string `json:"map,omitempty"`
}

// States of a volume.
const (
	// Whole: all paths work.
	Whole = "whole"
	// Degraded: some do.
	Degraded = "degraded"
	// Inaccessible: none does, and I/O waits; Failing: it fails.
	Inaccessible = "inaccessible"
	Failing      = "failing"
	// Detached: it is staged and has no device.
	Detached = "detached"
	// NotStaged: its staging, or its unstaging, is not complete, or it was staged before the node booted.
	NotStaged = "not staged"
)

// Volume is a volume on a node.
type Volume struct {
	Place

	ID    string `json:"id"`
	Claim string `json:"claim,omitempty"`
	State string `json:"state"`
	// Working paths of Expected ones; Lost says what is missing.
	Working     int      `json:"workingPaths"`
	Expected    int      `json:"expectedPaths"`
	Lost        string   `json:"lost,omitempty"`
	Map         string   `json:"map,omitempty"`
	Device      string   `json:"device,omitempty"`
	SizeBytes   int64    `json:"sizeBytes,omitempty"`
	WWID        string   `json:"wwid,omitempty"`
	Interfaces  []string `json:"interfaces,omitempty"`
	Pairing     string   `json:"pairing,omitempty"`
	MinPaths    int      `json:"minPaths,omitempty"`
	Target      string   `json:"target"`
	LUN         int      `json:"lun"`
	StagingPath string   `json:"stagingPath,omitempty"`
	Published   []string `json:"published,omitempty"`
}
