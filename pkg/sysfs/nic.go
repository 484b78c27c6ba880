package sysfs

import (
	"errors"
	"path/filepath"
	"strconv"
)

// NIC is what sysfs says about a network device of our own network namespace.
type NIC struct {
	Name string
	// Carrier says that there is a link; false while the device is down.
	Carrier bool
	// OperState is the RFC 2863 state: "up", "down", "lowerlayerdown", "unknown", ...
	OperState string
	MTU       int
	// SpeedMbps is 0 when unknown.
	SpeedMbps int
	// RxBytes and TxBytes count since the device was made.
	RxBytes, TxBytes uint64
	// Flaps is how often it lost its link since it was made; nil when the kernel does not count.
	Flaps *int
}

// NIC reads one: ErrGone when there is none.
func (f FS) NIC(name string) (NIC, error) {
	if name == "" || name == "." || name == ".." || name != filepath.Base(name) {
		return NIC{}, &Error{Op: "read", Path: f.path("class", "net"), Err: errors.Join(ErrGone, errors.New("bad name"))}
	}
	r := reader{fs: f, dir: filepath.Join("class", "net", name)}
	nic := NIC{
		Name:      name,
		OperState: r.text("operstate"),
		MTU:       int(r.number("mtu")),
		Carrier:   r.optional("carrier") == "1", // EINVAL while the device is down
		SpeedMbps: max(0, atoi(r.optional("speed"))),
		RxBytes:   r.counter("statistics/rx_bytes"),
		TxBytes:   r.counter("statistics/tx_bytes"),
	}
	if n, err := strconv.Atoi(r.optional("carrier_down_count")); err == nil {
		nic.Flaps = &n
	}
	return nic, r.err
}
