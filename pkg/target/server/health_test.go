package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/portbind/portbind/pkg/target/pool"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// reasons gives "SEVERITY Reason" of each problem.
func reasons(v *targetv1.VolumeHealth) []string {
	var out []string
	for _, p := range v.GetProblems() {
		out = append(out, strings.TrimPrefix(p.GetSeverity().String(), "SEVERITY_")+" "+p.GetReason())
	}
	return out
}

// health checks what Get says of a volume, and that List agrees.
func (r *rig) health(name string, want ...string) *targetv1.VolumeHealth {
	r.t.Helper()
	v, err := r.GetVolumeHealth(r.t.Context(), &targetv1.GetVolumeHealthRequest{Key: vol(name)})
	if err != nil {
		r.t.Fatal(err)
	}
	if diff := cmp.Diff(want, reasons(v)); diff != "" {
		r.t.Errorf("health of %s (-want +got):\n%s", name, diff)
	}
	list, err := r.ListVolumeHealth(r.t.Context(), &targetv1.ListVolumeHealthRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	var listed []string
	for _, other := range list.GetVolumes() {
		if other.GetKey().GetName() == name {
			listed = reasons(other)
		}
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		r.t.Errorf("listed health of %s (-want +got):\n%s", name, diff)
	}
	return v
}

func TestHealthOfPools(t *testing.T) {
	r := newRig(t)
	r.create("v")
	r.health("v")
	nearly := pool.Problem{Severity: pool.Degraded, Reason: "ThinPoolDataNearlyFull", Message: "86 %"}
	failed := pool.Problem{Severity: pool.Inaccessible, Reason: "ThinPoolFailed", Message: "gone"}
	r.pool.problems = []pool.Problem{nearly, failed}
	r.health("v", "INACCESSIBLE ThinPoolFailed", "DEGRADED ThinPoolDataNearlyFull")
	r.pool.problems = nil
	r.health("v")
}

func TestHealthOfNothing(t *testing.T) {
	r := newRig(t)
	_, err := r.GetVolumeHealth(t.Context(), &targetv1.GetVolumeHealthRequest{Key: vol("none")})
	want(t, err, codes.NotFound, "fast/none")
	_, err = r.GetVolumeHealth(t.Context(), &targetv1.GetVolumeHealthRequest{Key: vol("../x")})
	want(t, err, codes.InvalidArgument, "key.name")
	_, err = r.ListVolumeHealth(t.Context(), &targetv1.ListVolumeHealthRequest{Token: "../../x"})
	want(t, err, codes.Aborted)
}

// TestHealthOfUnreadablePool: what is published is known without LVM.
func TestHealthOfUnreadablePool(t *testing.T) {
	r := newRig(t)
	r.create("v")
	r.create("w")
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
	r.pool.broken = errors.New("volume group not found")
	v := r.health("v", "INACCESSIBLE PoolUnreadable")
	if m := v.GetProblems()[0].GetMessage(); !strings.Contains(m, "volume group not found") {
		t.Errorf("message %q", m)
	}
	_, err := r.GetVolumeHealth(t.Context(), &targetv1.GetVolumeHealthRequest{Key: vol("w")})
	want(t, err, codes.Internal, "volume group not found")
}

func TestHealthOfLostExports(t *testing.T) {
	r := newRig(t)
	r.create("v")
	for _, node := range []string{nodeA, nodeB} {
		r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: node, Shared: true})
	}
	tpg := "iscsi/" + iqn + "/tpgt_1"
	lost := func(dir string, want ...string) string {
		t.Helper()
		if err := errors.Join(r.tree.Unlink(dir+"/link"), r.tree.Rmdir(dir)); err != nil {
			t.Fatal(err)
		}
		return r.health("v", want...).GetProblems()[0].GetMessage()
	}
	m := lost(tpg+"/acls/"+nodeA+"/lun_1", "DEGRADED ExportMissing")
	if !strings.Contains(m, "its LUN of the initiator for "+nodeA) || strings.Contains(m, nodeB) {
		t.Errorf("message %q", m)
	}
	lost(tpg+"/acls/"+nodeB+"/lun_1", "INACCESSIBLE ExportMissing")
	lost(tpg+"/lun/lun_0", "INACCESSIBLE ExportMissing")
	lost(tpg+"/lun/lun_1", "INACCESSIBLE ExportMissing")
	if err := r.tree.Rmdir("core/iblock_1618/fast:v"); err != nil {
		t.Fatal(err)
	}
	delete(r.pool.active, "v")
	m = r.health("v", "INACCESSIBLE ExportMissing").GetProblems()[0].GetMessage()
	if !strings.Contains(m, "its backstore (the LV is not active) for "+nodeB) {
		t.Errorf("message %q", m)
	}
	r.retryFailed(t.Context())
	r.health("v")
	if _, failed := r.counts(); failed != 0 {
		t.Errorf("%d exports count as failed after they were mended", failed)
	}
}

// TestHealthWhileUnpublishing: an export that is going is not missed.
func TestHealthWhileUnpublishing(t *testing.T) {
	r := newRig(t)
	r.create("v")
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
	r.tree.Refuse("rmdir core/iblock_1618/fast:v", errors.New("busy"))
	if _, err := r.Unpublish(t.Context(), &targetv1.UnpublishRequest{Key: vol("v")}); err == nil {
		t.Fatal("unpublished")
	}
	r.health("v")
}

func TestHealthOfLostVolume(t *testing.T) {
	r := newRig(t)
	r.create("v")
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
	delete(r.pool.volumes, "v")
	r.health("v", "DATA_LOSS VolumeMissing")
}

func TestHealthOfTarget(t *testing.T) {
	r := newRig(t)
	r.create("v")
	tpg := "iscsi/" + iqn + "/tpgt_1"
	if err := r.tree.Write(tpg+"/enable", "0"); err != nil {
		t.Fatal(err)
	}
	r.health("v", "INACCESSIBLE TargetClosed")
	r.restart()
	r.health("v")
	if err := r.tree.Rmdir(tpg + "/np/10.0.0.1:3260"); err != nil {
		t.Fatal(err)
	}
	r.health("v", "INACCESSIBLE TargetClosed")
	r.restart()
	r.health("v")
}

func TestHealthPages(t *testing.T) {
	r := newRig(t)
	r.pool.problems = []pool.Problem{{Severity: pool.Degraded, Reason: "X"}}
	names := []string{"a", "b", "c"}
	for _, name := range names {
		r.create(name)
	}
	var got []string
	token := ""
	for range names {
		page, err := r.ListVolumeHealth(t.Context(), &targetv1.ListVolumeHealthRequest{MaxEntries: 1, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.GetVolumes() {
			got = append(got, v.GetKey().GetName())
		}
		token = page.GetNextToken()
	}
	if diff := cmp.Diff(names, got); diff != "" || token != "" {
		t.Errorf("token %q, -want +got:\n%s", token, diff)
	}
}
