package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

// healthWait bounds how long a target is waited for before it counts as unreachable.
const healthWait = 10 * time.Second

// healthKinds are what the severities are called in CSI.
var healthKinds = map[backend.Severity]csi.VolumeHealthErrorType{
	backend.Degraded:     csi.VolumeHealthErrorType_DEGRADED,
	backend.Inaccessible: csi.VolumeHealthErrorType_INACCESSIBLE,
	backend.DataLoss:     csi.VolumeHealthErrorType_DATA_LOSS,
}

// ControllerGetVolumeHealth says what the target knows to be wrong with a volume. A target that does not answer makes a volume
// degraded, not inaccessible: the kernel of the storage host serves I/O without the daemon.
func (c *Controller) ControllerGetVolumeHealth(
	ctx context.Context, req *csi.ControllerGetVolumeHealthRequest,
) (*csi.ControllerGetVolumeHealthResponse, error) {
	id, err := volume.ParseVolumeID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	b, err := c.backendOf(id)
	if err != nil {
		return nil, err
	}
	h, err := within(ctx, func(ctx context.Context) (backend.Health, error) { return b.Health(ctx, keyOf(id)) })
	if errors.Is(err, backend.ErrUnavailable) {
		h = backend.Health{Problems: []backend.Problem{{
			Severity: backend.Degraded, Reason: "TargetUnreachable",
			Message: fmt.Sprintf("target %q does not answer: volumes cannot be attached or detached; those that are attached may work: %v",
				id.Target, err),
		}}}
	} else if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeHealthResponse{VolumeHealth: volumeHealth(id, h)}, nil
}

// within gives a call healthWait; when only that ran out, the target counts as unavailable.
func within[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	own, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	v, err := call(own)
	if err != nil && own.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("no answer within %s: %w", healthWait, backend.ErrUnavailable)
	}
	return v, err
}

// ControllerListVolumeHealth lists the volumes of all targets that have something wrong. A target that does not answer fails the
// call, as in ListVolumes: which volumes it has is not known, and a shorter list would say that they are well.
func (c *Controller) ControllerListVolumeHealth(
	ctx context.Context, req *csi.ControllerListVolumeHealthRequest,
) (*csi.ControllerListVolumeHealthResponse, error) {
	list := func(b backend.Backend, limit int, token string) (ill []backend.Health, next string, err error) {
		ill, err = within(ctx, func(ctx context.Context) (page []backend.Health, err error) {
			page, next, err = b.ListHealth(ctx, limit, token)
			return page, err
		})
		return ill, next, err
	}
	ill, next, err := paginate(c.targets, req.GetMaxEntries(), req.GetStartingToken(), list)
	if err != nil {
		return nil, err
	}
	resp := &csi.ControllerListVolumeHealthResponse{NextToken: next}
	for _, h := range ill {
		resp.Entries = append(resp.Entries, volumeHealth(idOf(h.target, h.entry.Key), h.entry))
	}
	return resp, nil
}

func volumeHealth(id volume.ID, h backend.Health) *csi.VolumeHealth {
	out := &csi.VolumeHealth{VolumeId: id.String()}
	for _, p := range h.Problems {
		out.HealthStatuses = append(out.HealthStatuses, &csi.VolumeHealth_VolumeHealthEntry{
			Status: healthKinds[p.Severity], Reason: p.Reason, Message: oneLine(p.Message),
		})
	}
	return out
}
