package driver

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// TestVolumeHealth has a volume without any path in the fake host, on a node that has lost a NIC.
func TestVolumeHealth(t *testing.T) {
	r := newRig(t)
	if _, err := r.NodeStageVolume(t.Context(), stageRequest()); err != nil {
		t.Fatal(err)
	}
	got, err := r.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: testID})
	if err != nil {
		t.Fatal(err)
	}
	entries := got.GetVolumeHealth().GetHealthStatuses()
	if got.GetVolumeHealth().GetVolumeId() != testID || len(entries) != 1 || entries[0].GetStatus() != csi.VolumeHealthErrorType_INACCESSIBLE {
		t.Errorf("%v", got)
	}
	for name, c := range map[string]struct {
		req  *csi.NodeGetVolumeHealthRequest
		want codes.Code
	}{
		"no id":    {&csi.NodeGetVolumeHealthRequest{}, codes.InvalidArgument},
		"unknown":  {&csi.NodeGetVolumeHealthRequest{VolumeId: "stor1/fast/other"}, codes.NotFound},
		"bad path": {&csi.NodeGetVolumeHealthRequest{VolumeId: testID, StagingTargetPath: "relative"}, codes.InvalidArgument},
	} {
		if _, err := r.NodeGetVolumeHealth(t.Context(), c.req); code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestStorageHealth(t *testing.T) {
	r := newRig(t)
	got, err := r.NodeGetStorageHealth(t.Context(), &csi.NodeGetStorageHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if h := got.GetBackendHealth(); len(h) != 1 || h[0].GetStatus() != csi.StorageHealthErrorType_STORAGE_UNREACHABLE || h[0].GetReason() == "" {
		t.Errorf("%v", h)
	}
}
