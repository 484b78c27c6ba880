package driver

import (
	"net/netip"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/portbind/portbind/pkg/binding"
)

func topology(keysAndValues ...string) *csi.Topology {
	t := &csi.Topology{Segments: map[string]string{}}
	for i := 0; i < len(keysAndValues); i += 2 {
		t.Segments["topology.iscsi.portbind.io/"+keysAndValues[i]] = keysAndValues[i+1]
	}
	return t
}

func TestSegments(t *testing.T) {
	addrs := []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}
	got := segments(binding.Resolution{
		Interfaces: []binding.Interface{
			{Name: "well", NIC: "eth2", Up: true, Addrs: addrs},
			{Name: "no-link", NIC: "eth3", Addrs: addrs},
			{Name: "no-link-nor-address", NIC: "eth4"},
			{Name: "no-address", NIC: "eth5", Up: true},
		},
		Problems: []binding.Problem{{Interface: "no-nic", Err: binding.ErrMissing}, {Interface: "shared", Err: binding.ErrShared}},
	})
	want := topology("well", "true", "no-link", "true", "no-link-nor-address", "true").GetSegments()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCreateVolumeWhereItsInterfacesAre(t *testing.T) {
	both, one := topology("san-a", "true", "san-b", "true"), topology("san-a", "true", "san-b", "false")
	tests := []struct {
		name       string
		interfaces string
		required   *csi.TopologyRequirement
		want       []*csi.Topology
		code       codes.Code
		words      []string
	}{
		{name: "nothing asked", interfaces: "san-a,san-b", want: []*csi.Topology{both}},
		{name: "any interface", required: &csi.TopologyRequirement{Requisite: []*csi.Topology{one}}},
		{
			name: "one node of two", interfaces: "san-a,san-b", want: []*csi.Topology{both},
			required: &csi.TopologyRequirement{Requisite: []*csi.Topology{one, both}, Preferred: []*csi.Topology{one}},
		},
		{
			name: "one interface is enough", interfaces: "san-a", want: []*csi.Topology{topology("san-a", "true")},
			required: &csi.TopologyRequirement{Requisite: []*csi.Topology{one}},
		},
		{
			name: "not spoken of", interfaces: "san-a,san-b", want: []*csi.Topology{both},
			required: &csi.TopologyRequirement{Requisite: []*csi.Topology{topology("san-a", "true")}},
		},
		{
			name: "only elsewhere", interfaces: "san-a,san-b", code: codes.ResourceExhausted, words: []string{"san-a, san-b"},
			required: &csi.TopologyRequirement{Requisite: []*csi.Topology{one}},
		},
		{
			name: "another driver's", code: codes.InvalidArgument, words: []string{"example.com/zone", "topology.iscsi.portbind.io/"},
			required: &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"example.com/zone": "a"}}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			req := createRequest("v")
			req.AccessibilityRequirements = tt.required
			req.Parameters = map[string]string{"target": "stor1", "pool": "fast", "interfaces": tt.interfaces}
			if tt.interfaces == "" {
				delete(req.Parameters, "interfaces")
			}
			resp, err := h.CreateVolume(h.ctx(), req)
			h.want(err, tt.code, "CreateVolume", tt.words...)
			if diff := cmp.Diff(tt.want, resp.GetVolume().GetAccessibleTopology(), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoCapacityWhereInterfacesAreNot(t *testing.T) {
	h := newHarness(t)
	req := &csi.GetCapacityRequest{
		Parameters:         map[string]string{"interfaces": "san-a,san-b"},
		AccessibleTopology: topology("san-a", "true", "san-b", "true"),
	}
	resp, err := h.GetCapacity(h.ctx(), req)
	h.want(err, codes.OK, "GetCapacity")
	if resp.GetAvailableCapacity() == 0 || resp.GetMaximumVolumeSize().GetValue() == 0 {
		t.Errorf("%v where both interfaces are", resp)
	}
	for what, node := range map[string]*csi.Topology{
		"one is missing": topology("san-a", "true"), "one is said to be missing": topology("san-a", "true", "san-b", "false"),
		"others are": topology("san-c", "true"),
	} {
		req.AccessibleTopology = node
		resp, err = h.GetCapacity(h.ctx(), req)
		h.want(err, codes.OK, "GetCapacity")
		if resp.GetAvailableCapacity() != 0 || resp.GetMaximumVolumeSize().GetValue() != 0 {
			t.Errorf("%v where %s", resp, what)
		}
	}
}
