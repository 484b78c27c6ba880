package lio

import (
	"context"
	"errors"
	"fmt"

	"github.com/portbind/portbind/pkg/backend"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// Health looks at one volume.
func (b *Backend) Health(ctx context.Context, key backend.Key) (backend.Health, error) {
	h, err := b.client.GetVolumeHealth(ctx, &targetv1.GetVolumeHealthRequest{Key: volumeKey(key)})
	err = fromStatus(ctx, err)
	if errors.Is(err, backend.ErrUnsupported) {
		return b.guess(ctx, key)
	}
	if err != nil {
		return backend.Health{}, err
	}
	return toHealth(h), nil
}

// ListHealth gives one page of the volumes that have problems.
func (b *Backend) ListHealth(ctx context.Context, limit int, token string) ([]backend.Health, string, error) {
	out, err := b.client.ListVolumeHealth(ctx, &targetv1.ListVolumeHealthRequest{MaxEntries: entries(limit), Token: token})
	err = fromListStatus(ctx, err, token)
	if errors.Is(err, backend.ErrUnsupported) {
		return b.guessAll(ctx, limit, token)
	}
	if err != nil {
		return nil, "", err
	}
	ill := make([]backend.Health, len(out.GetVolumes()))
	for i, v := range out.GetVolumes() {
		ill[i] = toHealth(v)
	}
	return ill, out.GetNextToken(), nil
}

func toHealth(h *targetv1.VolumeHealth) backend.Health {
	out := backend.Health{Key: backendKey(h.GetKey())}
	for _, p := range h.GetProblems() {
		severity, ok := severities[p.GetSeverity()]
		if !ok {
			severity = backend.Degraded
		}
		out.Problems = append(out.Problems, backend.Problem{Severity: severity, Reason: p.GetReason(), Message: p.GetMessage()})
	}
	return out
}

var severities = map[targetv1.Severity]backend.Severity{
	targetv1.Severity_SEVERITY_DEGRADED:     backend.Degraded,
	targetv1.Severity_SEVERITY_INACCESSIBLE: backend.Inaccessible,
	targetv1.Severity_SEVERITY_DATA_LOSS:    backend.DataLoss,
}

// guess is Health of a target that is older than that call: whether the volume is there, and whether its pool takes more.
func (b *Backend) guess(ctx context.Context, key backend.Key) (backend.Health, error) {
	if _, err := b.Volume(ctx, key); err != nil {
		return backend.Health{}, err
	}
	full, err := b.full(ctx)
	if err != nil {
		return backend.Health{}, err
	}
	return backend.Health{Key: key, Problems: full[key.Pool]}, nil
}

// guessAll is guess for a page of volumes, of which those without problems are left out: a page may be short.
func (b *Backend) guessAll(ctx context.Context, limit int, token string) ([]backend.Health, string, error) {
	full, err := b.full(ctx)
	if err != nil {
		return nil, "", err
	}
	volumes, next, err := b.ListVolumes(ctx, limit, token)
	if err != nil {
		return nil, "", err
	}
	var ill []backend.Health
	for _, v := range volumes {
		if len(full[v.Pool]) > 0 {
			ill = append(ill, backend.Health{Key: v.Key, Problems: full[v.Pool]})
		}
	}
	return ill, next, nil
}

// full gives the problem of pools that take no more volumes.
func (b *Backend) full(ctx context.Context) (map[string][]backend.Problem, error) {
	info, err := b.client.GetInfo(ctx, &targetv1.GetInfoRequest{})
	if err != nil {
		return nil, fromStatus(ctx, err)
	}
	full := map[string][]backend.Problem{}
	for _, p := range info.GetPools() {
		if p.GetMaxVolumeBytes() == 0 {
			full[p.GetName()] = []backend.Problem{{Severity: backend.Degraded, Reason: "PoolFull", Message: fmt.Sprintf(
				"pool %s takes no more volumes: extend it, or delete volumes and snapshots", p.GetName())}}
		}
	}
	return full, nil
}
