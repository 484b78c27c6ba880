package clusterview

import (
	"slices"
	"time"

	"github.com/portbind/portbind/pkg/view"
)

// stamp dates interfaces of nodes that do not say when they looked.
func stamp(rows any, at time.Time) {
	interfaces, ok := rows.([]view.Interface)
	if !ok {
		return
	}
	for i := range interfaces {
		if interfaces[i].SampledAt.IsZero() {
			interfaces[i].SampledAt = at
		}
	}
}

// Rates fills in how fast bytes came and went between two looks. A NIC that was not there before, or counts anew, has none.
func Rates(before, now []view.Interface) {
	for i := range now {
		n := &now[i]
		at := slices.IndexFunc(before, func(b view.Interface) bool { return b.Node == n.Node && b.Name == n.Name && b.NIC == n.NIC })
		if at < 0 || n.NIC == "" {
			continue
		}
		b := before[at]
		seconds := n.SampledAt.Sub(b.SampledAt).Seconds()
		if seconds <= 0 || n.RxBytes < b.RxBytes || n.TxBytes < b.TxBytes {
			continue
		}
		n.RxRate, n.TxRate = new(float64(n.RxBytes-b.RxBytes)/seconds), new(float64(n.TxBytes-b.TxBytes)/seconds)
	}
}
