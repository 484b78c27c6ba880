package lio

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/backend/backendtest"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	ca, s := newAuthority(t, "ca"), newServer()
	endpoint, _ := serveOn(t, s, ca.serverTLS(t, "target"), "127.0.0.1:0")
	b := connect(t, endpoint, write(t, t.TempDir(), ca, ca))
	ill := backend.Health{Key: backend.Key{Pool: "fast", Name: "ill"}, Problems: []backend.Problem{
		{Severity: backend.DataLoss, Reason: "VolumeMissing", Message: "gone"},
		{Severity: backend.Inaccessible, Reason: "ExportMissing", Message: "not served"},
		{Severity: backend.Degraded, Reason: "ThinPoolDataNearlyFull", Message: "86 %"},
	}}
	for _, name := range []string{"well", "ill"} {
		if _, err := b.CreateVolume(t.Context(), backend.CreateVolume{Key: backend.Key{Pool: "fast", Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	s.fake.SetProblems(ill.Key, ill.Problems...)
	got, err := b.Health(t.Context(), ill.Key)
	if diff := cmp.Diff(ill, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
	list, next, err := b.ListHealth(t.Context(), 0, "")
	if diff := cmp.Diff([]backend.Health{ill}, list); err != nil || next != "" || diff != "" {
		t.Errorf("%v, next %q, -want +got:\n%s", err, next, diff)
	}
}

// TestUnknownSeverity is one that a newer target may have.
func TestUnknownSeverity(t *testing.T) {
	t.Parallel()
	h := toHealth(&targetv1.VolumeHealth{Problems: []*targetv1.Problem{{Severity: 99, Reason: "New"}}})
	if diff := cmp.Diff([]backend.Problem{{Severity: backend.Degraded, Reason: "New"}}, h.Problems); diff != "" {
		t.Error(diff)
	}
}

// old is a target that has no calls for health.
type old struct {
	*server

	none targetv1.UnimplementedTargetServer
	full bool
}

func (o *old) GetVolumeHealth(ctx context.Context, req *targetv1.GetVolumeHealthRequest) (*targetv1.VolumeHealth, error) {
	return o.none.GetVolumeHealth(ctx, req)
}

func (o *old) ListVolumeHealth(
	ctx context.Context, req *targetv1.ListVolumeHealthRequest,
) (*targetv1.ListVolumeHealthResponse, error) {
	return o.none.ListVolumeHealth(ctx, req)
}

func (o *old) GetInfo(ctx context.Context, req *targetv1.GetInfoRequest) (*targetv1.GetInfoResponse, error) {
	info, err := o.server.GetInfo(ctx, req)
	if err == nil && o.full {
		info.Pools[0].MaxVolumeBytes = 0
	}
	return info, err
}

func TestContractWithOldTarget(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		t.Helper()
		ca := newAuthority(t, "ca")
		endpoint, _ := serveOn(t, &old{server: newServer()}, ca.serverTLS(t, "target"), "127.0.0.1:0")
		return backendtest.Fixture{Backend: connect(t, endpoint, write(t, t.TempDir(), ca, ca)), Pool: "fast", OtherPool: "slow"}
	})
}

func TestHealthOfAFullPoolOfAnOldTarget(t *testing.T) {
	t.Parallel()
	ca, s := newAuthority(t, "ca"), &old{server: newServer(), full: true}
	endpoint, _ := serveOn(t, s, ca.serverTLS(t, "target"), "127.0.0.1:0")
	b := connect(t, endpoint, write(t, t.TempDir(), ca, ca))
	for _, pool := range []string{"fast", "slow"} {
		if _, err := b.CreateVolume(t.Context(), backend.CreateVolume{Key: backend.Key{Pool: pool, Name: "v"}}); err != nil {
			t.Fatal(err)
		}
	}
	h, err := b.Health(t.Context(), backend.Key{Pool: "fast", Name: "v"})
	if err != nil || len(h.Problems) != 1 || h.Problems[0].Reason != "PoolFull" {
		t.Errorf("%+v, %v", h, err)
	}
	list, _, err := b.ListHealth(t.Context(), 0, "")
	if err != nil || len(list) != 1 || list[0].Pool != "fast" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := b.Health(t.Context(), backend.Key{Pool: "slow", Name: "none"}); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
}
