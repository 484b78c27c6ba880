package driver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"

	"github.com/portbind/portbind/pkg/backend"
)

// statuses gives "STATUS Reason" of each entry.
func statuses(h *csi.VolumeHealth) []string {
	var out []string
	for _, s := range h.GetHealthStatuses() {
		out = append(out, s.GetStatus().String()+" "+s.GetReason())
	}
	return out
}

var (
	nearlyFull = backend.Problem{Severity: backend.Degraded, Reason: "ThinPoolDataNearlyFull", Message: "86 %"}
	noExport   = backend.Problem{Severity: backend.Inaccessible, Reason: "ExportMissing", Message: "line\nline"}
	lostVolume = backend.Problem{Severity: backend.DataLoss, Reason: "VolumeMissing"}
)

func TestControllerGetVolumeHealth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	v := h.create("pvc-1")
	get := func(want ...string) *csi.VolumeHealth {
		t.Helper()
		resp, err := h.ControllerGetVolumeHealth(h.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: v.GetVolumeId()})
		h.want(err, codes.OK, "ControllerGetVolumeHealth")
		if diff := cmp.Diff(want, statuses(resp.GetVolumeHealth())); diff != "" || resp.GetVolumeHealth().GetVolumeId() != v.GetVolumeId() {
			t.Errorf("%v, -want +got:\n%s", resp, diff)
		}
		return resp.GetVolumeHealth()
	}
	get()
	target := h.targets["stor1"]
	target.SetProblems(backend.Key{Pool: "fast", Name: "pvc-1"}, lostVolume, noExport, nearlyFull)
	health := get("DATA_LOSS VolumeMissing", "INACCESSIBLE ExportMissing", "DEGRADED ThinPoolDataNearlyFull")
	if m := health.GetHealthStatuses()[1].GetMessage(); m != "line; line" {
		t.Errorf("message %q", m)
	}
	target.SetProblems(backend.Key{Pool: "fast", Name: "pvc-1"})
	get()
	target.SetDown(backend.ErrUnavailable)
	get("DEGRADED TargetUnreachable")
	target.SetDown(errors.New("bug"))
	_, err := h.ControllerGetVolumeHealth(h.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: v.GetVolumeId()})
	h.want(err, codes.Internal, "an unknown error", "bug")
}

func TestControllerGetVolumeHealthRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for id, code := range map[string]codes.Code{
		"": codes.InvalidArgument, "stor1/fast/none": codes.NotFound, "foreign": codes.NotFound,
		"stor9/fast/pvc-1": codes.FailedPrecondition, "static/archive": codes.OK,
	} {
		_, err := h.ControllerGetVolumeHealth(h.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: id})
		h.want(err, code, "health of "+id)
	}
	_, err := h.ControllerListVolumeHealth(h.ctx(), &csi.ControllerListVolumeHealthRequest{MaxEntries: -1})
	h.want(err, codes.InvalidArgument, "a negative number", "max_entries")
	_, err = h.ControllerListVolumeHealth(h.ctx(), &csi.ControllerListVolumeHealthRequest{StartingToken: "stor9/x"})
	h.want(err, codes.Aborted, "a foreign token")
}

// TestHealthOfASilentTarget: one that takes calls and never answers.
func TestHealthOfASilentTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewController([]Target{{Name: "stor1", Backend: silent{}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		resp, err := c.ControllerGetVolumeHealth(t.Context(), &csi.ControllerGetVolumeHealthRequest{VolumeId: "stor1/fast/v"})
		if diff := cmp.Diff([]string{"DEGRADED TargetUnreachable"}, statuses(resp.GetVolumeHealth())); err != nil || diff != "" {
			t.Errorf("%v, %s", err, diff)
		}
		if _, err := c.ControllerListVolumeHealth(t.Context(), &csi.ControllerListVolumeHealthRequest{}); !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("listed with %v", err)
		}
		if took := time.Since(begin); took != 2*healthWait {
			t.Errorf("took %s", took)
		}
	})
}

func TestControllerListVolumeHealth(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, name := range []string{"a", "b", "c"} {
		h.create(name)
	}
	other := createRequest("d")
	other.Parameters["target"] = "stor2"
	_, err := h.CreateVolume(h.ctx(), other)
	h.want(err, codes.OK, "CreateVolume")
	h.targets["stor1"].SetProblems(backend.Key{Pool: "fast", Name: "a"}, noExport)
	h.targets["stor1"].SetProblems(backend.Key{Pool: "fast", Name: "c"}, noExport)
	h.targets["stor2"].SetProblems(backend.Key{Pool: "fast"}, nearlyFull)
	want := []string{
		"stor1/fast/a INACCESSIBLE ExportMissing", "stor1/fast/c INACCESSIBLE ExportMissing", "stor2/fast/d DEGRADED ThinPoolDataNearlyFull",
	}
	for _, limit := range []int32{0, 1, 2, 3} {
		if diff := cmp.Diff(want, h.listHealth(limit)); diff != "" {
			t.Errorf("limit %d, -want +got:\n%s", limit, diff)
		}
	}
	h.targets["stor2"].SetDown(backend.ErrUnavailable)
	_, err = h.ControllerListVolumeHealth(h.ctx(), &csi.ControllerListVolumeHealthRequest{})
	h.want(err, codes.Unavailable, "with a target down", "stor2")
}

// listHealth follows the tokens.
func (h *harness) listHealth(limit int32) (all []string) {
	h.Helper()
	token := ""
	for range 10 {
		resp, err := h.ControllerListVolumeHealth(h.ctx(), &csi.ControllerListVolumeHealthRequest{MaxEntries: limit, StartingToken: token})
		h.want(err, codes.OK, "ControllerListVolumeHealth")
		if limit > 0 && len(resp.GetEntries()) > int(limit) {
			h.Errorf("%d entries in a page of %d", len(resp.GetEntries()), limit)
		}
		for _, e := range resp.GetEntries() {
			all = append(all, e.GetVolumeId()+" "+strings.Join(statuses(e), " "))
		}
		if token = resp.GetNextToken(); token == "" {
			return all
		}
	}
	h.Error("no end of pages")
	return all
}

func TestControllerMetrics(t *testing.T) {
	t.Parallel()
	well, down := newFake("1", map[string]int64{"fast": 100 * gib}), newFake("2", map[string]int64{"fast": 100 * gib})
	down.SetDown(backend.ErrUnavailable)
	for _, name := range []string{"a", "b"} {
		if _, err := well.CreateVolume(t.Context(), backend.CreateVolume{Key: backend.Key{Pool: "fast", Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	well.SetProblems(backend.Key{Pool: "fast"}, nearlyFull)
	well.SetProblems(backend.Key{Pool: "fast", Name: "a"}, noExport)
	c, err := NewController([]Target{{Name: "stor1", Backend: well}, {Name: "stor2", Backend: down}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP portbind_pool_free_bytes Data space of a pool that is not yet allocated.
# TYPE portbind_pool_free_bytes gauge
portbind_pool_free_bytes{pool="fast",target="stor1"} 1.05226698752e+11
# HELP portbind_pool_metadata_used_ratio Used fraction of a pool's metadata, 0 to 1.
# TYPE portbind_pool_metadata_used_ratio gauge
portbind_pool_metadata_used_ratio{pool="fast",target="stor1"} 0
# HELP portbind_pool_size_bytes Size of a pool's data space.
# TYPE portbind_pool_size_bytes gauge
portbind_pool_size_bytes{pool="fast",target="stor1"} 1.073741824e+11
# HELP portbind_target_up 1 when the target answers the controller.
# TYPE portbind_target_up gauge
portbind_target_up{target="stor1"} 1
portbind_target_up{target="stor2"} 0
# HELP portbind_volumes_unhealthy Volumes with a problem at the target, by CSI's status and reason.
# TYPE portbind_volumes_unhealthy gauge
portbind_volumes_unhealthy{reason="ExportMissing",status="INACCESSIBLE",target="stor1"} 1
portbind_volumes_unhealthy{reason="ThinPoolDataNearlyFull",status="DEGRADED",target="stor1"} 2
`
	if err := testutil.CollectAndCompare(NewControllerCollector(t.Context(), c), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// silent is a target that never answers about health.
type silent struct{ backend.Backend }

func (silent) Health(ctx context.Context, _ backend.Key) (backend.Health, error) {
	<-ctx.Done()
	return backend.Health{}, ctx.Err()
}

func (silent) ListHealth(ctx context.Context, _ int, _ string) ([]backend.Health, string, error) {
	<-ctx.Done()
	return nil, "", ctx.Err()
}
