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
