package driver

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/volume"
)

func withClaim(r *csi.NodeStageVolumeRequest) {
	r.VolumeContext["csi.storage.k8s.io/pvc/namespace"] = "shop"
	r.VolumeContext["csi.storage.k8s.io/pvc/name"] = "data"
	r.VolumeContext["csi.storage.k8s.io/pv/name"] = "pvc-1"
}

// TestView stages a volume and looks at it as the path watcher does.
func TestView(t *testing.T) {
	r := newRig(t)
	if _, err := r.NodeStageVolume(t.Context(), stageRequest(withClaim)); err != nil {
		t.Fatal(err)
	}
	r.boot("boot-1") // an upgrade: the record remembers
	want := pathwatch.Volume{
		ID: testID, Claim: volume.Claim{Namespace: "shop", Name: "data", Volume: "pvc-1"},
		Interfaces: []string{"san-a", "san-b"}, Pairing: binding.PairingAuto,
		Portals: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:3260"), netip.MustParseAddrPort("192.0.2.2:3260")},
	}
	check := func(volumes ...pathwatch.Volume) {
		t.Helper()
		got, err := r.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(volumes, got.Volumes, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(got.Interfaces.Interfaces) != 1 || len(got.Interfaces.Problems) != 1 {
			t.Errorf("interfaces %+v", got.Interfaces)
		}
	}
	check(want)
	r.fail["inspect"] = errors.New("being detached")
	want.Unknown = true
	check(want)
	r.boot("boot-2") // nothing is staged since
	check()
}
