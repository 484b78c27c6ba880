package pathwatch

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
)

func TestVolumeHealth(t *testing.T) {
	t.Parallel()
	unknown := vol()
	unknown.Unknown = true
	for name, test := range map[string]struct {
		v    Volume
		r    binding.Resolution
		want Health
	}{
		"whole":   {vol(all()...), node(sanA, sanB), Health{}},
		"unknown": {unknown, node(sanA, sanB), Health{}},
		"one NIC": {vol(all()...), node(sanA, down(sanB)), Health{
			Reason: RedundancyLost, Message: "2 of 4 paths are left on node n1: san-b (eth3) has no link",
		}},
		"none": {vol(all()...), node(down(sanA), down(sanB)), Health{
			Reason: AllPathsLost, Inaccessible: true,
			Message: "None of 4 paths is left on node n1, I/O waits: san-a (eth2) has no link; san-b (eth3) has no link",
		}},
		"none, and I/O fails": {fails(vol(dead()...)), node(sanA, down(sanB)), Health{
			Reason: IOFails, Inaccessible: true,
			Message: "None of 4 paths is left on node n1, and I/O fails: " +
				"san-a (eth2): path failed to 10.99.0.1:3260, 10.99.0.2:3260; san-b (eth3) has no link",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ill := VolumeHealth(test.v, test.r, "node n1")
			if diff := cmp.Diff(test.want, got); diff != "" || ill != (test.want != Health{}) {
				t.Errorf("ill %t (-want +got):\n%s", ill, diff)
			}
		})
	}
}

func TestInterfaceHealth(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		r    binding.Resolution
		want Health
	}{
		"well": {node(sanA, sanB), Health{}},
		"one down": {node(sanA, down(sanB)), Health{
			Reason: InterfaceDown, Message: "1 of 2 storage interfaces work: san-b (eth3) has no link",
		}},
		"none left": {without(node(down(sanA)), "san-b"), Health{
			Reason: InterfaceDown, Inaccessible: true, Message: "0 of 2 storage interfaces work: san-a (eth2) has no link; san-b has no NIC",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ill := InterfaceHealth(test.r)
			if diff := cmp.Diff(test.want, got); diff != "" || ill != (test.want != Health{}) {
				t.Errorf("ill %t (-want +got):\n%s", ill, diff)
			}
		})
	}
}

func TestSessionHealth(t *testing.T) {
	t.Parallel()
	// A portal is gone: to the one volume the sessions are down, the other came later and has no disk over them.
	early := vol(path("san-a", p1), path("san-a", p2, loggedOut), path("san-b", p1), path("san-b", p2, loggedOut))
	late := vol(path("san-a", p1), path("san-b", p1))
	unknown := vol()
	unknown.Unknown = true
	gone := Health{
		Reason:  SessionsLost,
		Message: "2 of 4 sessions work: san-a (eth2): session down to 10.99.0.2:3260; san-b (eth3): session down to 10.99.0.2:3260",
	}
	for name, test := range map[string]struct {
		v    []Volume
		r    binding.Resolution
		want Health
	}{
		"no volume":                 {nil, node(sanA, sanB), Health{}},
		"whole":                     {[]Volume{vol(all()...), unknown}, node(sanA, sanB), Health{}},
		"the interfaces' own":       {[]Volume{vol(all(loggedOut)...)}, node(sanA, down(sanB)), Health{}},
		"one volume's own":          {[]Volume{vol(all(failed)...), vol(all(missing)...)}, node(sanA, sanB), Health{}},
		"a portal":                  {[]Volume{early, late}, node(sanA, sanB), gone},
		"a portal, the other order": {[]Volume{late, early}, node(sanA, sanB), gone},
		"a portal, one link": {[]Volume{early}, node(sanA, down(sanB)), Health{
			Reason: SessionsLost, Message: "1 of 2 sessions work: san-a (eth2): session down to 10.99.0.2:3260",
		}},
		"all": {[]Volume{vol(path("san-a", p1, loggedOut), path("san-b", p1, loggedOut))}, node(sanA, sanB), Health{
			Reason: SessionsLost, Inaccessible: true, Message: "0 of 4 sessions work: san-a (eth2): session down to 10.99.0.1:3260; " +
				"san-a (eth2): no session to 10.99.0.2:3260; san-b (eth3): session down to 10.99.0.1:3260; san-b (eth3): no session to 10.99.0.2:3260",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ill := SessionHealth(View{Interfaces: test.r, Volumes: test.v})
			if diff := cmp.Diff(test.want, got); diff != "" || ill != (test.want != Health{}) {
				t.Errorf("ill %t (-want +got):\n%s", ill, diff)
			}
		})
	}
}
