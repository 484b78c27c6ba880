package lvmthin

import (
	"maps"
	"slices"
	"testing"

	"github.com/portbind/portbind/pkg/target/pool"
)

// TestAttributes: what is changed in one command a restart reads again, and nothing else of the LV is touched.
func TestAttributes(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	req := create("a", 4*mib)
	req.Attributes = map[string]string{"pathSelector": "queue-length", "noPathRetry": "30s"}
	before := must[pool.Volume](t)(p.CreateVolume(ctx, req))
	want := map[string]string{"noPathRetry": "fail", "preferredInterface": "san-a"}
	for range 2 {
		must[pool.Volume](t)(p.SetAttributes(ctx, "a", want))
	}
	if !slices.Equal(f.calls, []string{"lvcreate", "lvchange"}) {
		t.Errorf("programs: %v", f.calls)
	}
	p.group.forget()
	after := must[[]pool.Volume](t)(p.Volumes(ctx))
	if len(after) != 1 || !maps.Equal(after[0].Attributes, want) || after[0].Serial != before.Serial || after[0].Size != before.Size {
		t.Errorf("after a restart: %+v", after)
	}
	must[pool.Volume](t)(p.SetAttributes(ctx, "a", nil))
	if i := slices.IndexFunc(f.lvs["pbv_a"].tags, func(tag string) bool { return len(tag) > 18 && tag[:18] == tagAttribute[:18] }); i >= 0 {
		t.Errorf("left: %v", f.lvs["pbv_a"].tags)
	}
	_, err := p.SetAttributes(ctx, "none", want)
	wantErr(t, err, pool.ErrNotFound)
}
