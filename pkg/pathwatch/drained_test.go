package pathwatch

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
)

func drainedNode(r binding.Resolution, names ...string) binding.Resolution {
	r.Drained = names
	return r
}

// TestDrained takes an interface out of use, has its link go and come, and uses it again: that is no loss, and no news of a NIC.
func TestDrained(t *testing.T) {
	all := Volume{ID: "v", Portals: []netip.AddrPort{p1}, Pairing: binding.PairingAuto, Paths: []attach.Path{path("san-a", p1), path("san-b", p1)}}
	half := all
	half.Paths = all.Paths[1:]
	for _, v := range []Volume{all, half} {
		c := assess(v, drainedNode(node(sanA, sanB), "san-a"))
		if c.expected != 1 || c.working != 1 || len(c.lost) != 0 {
			t.Errorf("%d paths: %+v", len(v.Paths), c)
		}
	}
	tracker, now := newTracker("node n"), time.Now()
	for step, view := range []View{
		{Interfaces: node(sanA, sanB), Volumes: []Volume{all}},
		{Interfaces: drainedNode(node(sanA, sanB), "san-a"), Volumes: []Volume{half}},
		{Interfaces: drainedNode(node(down(sanA), sanB), "san-a"), Volumes: []Volume{half}},
		{Interfaces: drainedNode(without(node(sanB), "san-a"), "san-a"), Volumes: []Volume{half}},
		{Interfaces: drainedNode(node(sanA, sanB), "san-a"), Volumes: []Volume{half}},
		{Interfaces: node(sanA, sanB), Volumes: []Volume{all}},
	} {
		now = now.Add(time.Minute)
		if n := tracker.update(view, now); len(n.events) > 0 || len(n.shifts) > 0 {
			t.Errorf("step %d: %+v", step, n)
		}
	}
	if h, ill := InterfaceHealth(drainedNode(node(down(sanA), sanB), "san-a")); ill {
		t.Errorf("%+v", h)
	}
	now = now.Add(time.Minute)
	if n := tracker.update(View{Interfaces: node(down(sanA), sanB)}, now); len(n.events) != 1 {
		t.Errorf("a link that is lost afterwards: %+v", n)
	}
}

// TestUndrained: paths that are on their way back are not lost, those that do not come are.
func TestUndrained(t *testing.T) {
	half := Volume{ID: "v", Portals: []netip.AddrPort{p1}, Pairing: binding.PairingAuto, Paths: []attach.Path{path("san-b", p1)}}
	tracker, now := newTracker("node n"), time.Now()
	tracker.update(View{Interfaces: drainedNode(node(sanA, sanB), "san-a"), Volumes: []Volume{half}}, now)
	used := View{Interfaces: node(sanA, sanB), Volumes: []Volume{half}}
	now = now.Add(time.Minute)
	if n := tracker.update(used, now); len(n.events) > 0 || n.again != settleTime {
		t.Errorf("at once: %+v", n)
	}
	if n := tracker.update(used, now.Add(settleTime)); len(n.events) != 1 || n.events[0].Reason != RedundancyLost {
		t.Errorf("later: %+v", n)
	}
}
