package driver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portbind/portbind/pkg/attach"
)

// TestPathMetrics has a path that works, one whose session is connected to nothing, and one of a foreign session.
func TestPathMetrics(t *testing.T) {
	r := newRig(t)
	if _, err := r.NodeStageVolume(t.Context(), stageRequest()); err != nil {
		t.Fatal(err)
	}
	portal := netip.MustParseAddrPort("192.0.2.1:3260")
	r.luns[1].paths = []attach.Path{
		{Interface: "san-a", Portal: portal, Asked: portal, State: attach.StateActive},
		{Interface: "san-b", Asked: portal, State: attach.StateFailed},
		{State: attach.StateActive},
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewNodeCollector(t.Context(), r.Node))
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP portbind_maps Multipath maps of the staged volumes, by state: whole, degraded (a path in them has failed), waiting (none works, I/O waits), failing (none works, I/O fails).
# TYPE portbind_maps gauge
portbind_maps{state="degraded"} 1
portbind_maps{state="failing"} 0
portbind_maps{state="waiting"} 0
portbind_maps{state="whole"} 0
# HELP portbind_paths Paths of the staged volumes, by interface, portal and state.
# TYPE portbind_paths gauge
portbind_paths{interface="",portal="",state="active"} 1
portbind_paths{interface="san-a",portal="192.0.2.1:3260",state="active"} 1
portbind_paths{interface="san-b",portal="192.0.2.1:3260",state="failed"} 1
# HELP portbind_volumes_staged Volumes that are staged on this node.
# TYPE portbind_volumes_staged gauge
portbind_volumes_staged 1
`), "portbind_maps", "portbind_paths", "portbind_volumes_staged")
	if err != nil {
		t.Error(err)
	}
}
