package driver

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/nodeid"
	"github.com/portbind/portbind/pkg/pathwatch"
)

// A node that boots has a moment to get its addresses; one that runs is as it is.
func TestRegistrationWaitsForAddresses(t *testing.T) {
	looks := 0
	n := NewNode(NodeOptions{Initiator: "iqn.2026-11.io.portbind:n1", Interfaces: func() (binding.Resolution, error) {
		i := binding.Interface{Name: "san-a", NIC: "eth2", Up: true}
		if looks++; looks > 2 {
			i.Addrs = []netip.Prefix{netip.MustParsePrefix("192.0.2.11/24")}
		}
		return binding.Resolution{Interfaces: []binding.Interface{i}}, nil
	}})
	segments := func() map[string]string {
		info, err := n.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return info.GetAccessibleTopology().GetSegments()
	}
	if diff := cmp.Diff(topology("san-a", "true").GetSegments(), segments()); diff != "" {
		t.Error(diff)
	}
	looks, n.began = 0, time.Now().Add(-addressTime)
	if got := segments(); len(got) > 0 || looks != 1 {
		t.Errorf("got %v after %d looks", got, looks)
	}
}

// A node that may not have its name is not registered.
func TestRegistrationNeedsItsOwnName(t *testing.T) {
	for err, want := range map[error]codes.Code{
		nil: codes.OK, nodeid.ErrTaken: codes.FailedPrecondition, nodeid.ErrUnknown: codes.Unavailable,
	} {
		n := NewNode(NodeOptions{
			Initiator:  "iqn.2026-11.io.portbind:n1",
			Interfaces: func() (binding.Resolution, error) { return binding.Resolution{}, nil },
			Unique:     func(context.Context) error { return err },
		})
		n.began = time.Now().Add(-addressTime)
		_, got := n.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
		if code := status.Code(statusOf(got, append(NodeRules(), commonRules...))); code != want {
			t.Errorf("%v: %v, want %v", err, code, want)
		}
	}
}

func TestDemand(t *testing.T) {
	portals := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:3260"), netip.MustParseAddrPort("192.0.2.2:3260")}
	got := demand(pathwatch.Volume{
		Interfaces: []string{"san-a"}, Portals: portals, Pairing: binding.PairingMesh,
		Paths: []attach.Path{
			{Interface: "san-a", Asked: portals[0], SessionState: "LOGGED_IN", State: attach.StateActive},
			{Interface: "san-a", Asked: portals[1], SessionState: "FAILED", State: attach.StateFailed},
		},
	})
	want := compliance.Demand{
		Interfaces: []string{"san-a"}, Portals: portals, Pairing: binding.PairingMesh, Volume: true,
		Sessions: []compliance.Session{{Interface: "san-a", Portal: portals[0]}},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}
