package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/target/pool"
	"github.com/portbind/portbind/pkg/target/store"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// GetVolumeHealth implements the Target service.
func (s *Server) GetVolumeHealth(ctx context.Context, req *targetv1.GetVolumeHealthRequest) (*targetv1.VolumeHealth, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	if _, err := s.driver(k.GetPool()); err != nil {
		return nil, err
	}
	exports := s.exportsOf(k.GetPool(), k.GetName(), "")
	h, err := s.healthOf(ctx, k.GetPool())
	if err != nil {
		return nil, err
	}
	if len(exports) == 0 && !h.volumes[k.GetName()] {
		if h.unreadable != nil {
			return nil, h.unreadable
		}
		return nil, notFound("no volume %s/%s", k.GetPool(), k.GetName())
	}
	return s.volumeHealth(h, k.GetName(), exports)
}

// ListVolumeHealth implements the Target service.
func (s *Server) ListVolumeHealth(
	ctx context.Context, req *targetv1.ListVolumeHealthRequest,
) (*targetv1.ListVolumeHealthResponse, error) {
	var ill []*targetv1.VolumeHealth
	exports := map[[2]string][]store.Export{}
	for _, e := range s.allExports() {
		exports[[2]string{e.Pool, e.Volume}] = append(exports[[2]string{e.Pool, e.Volume}], e)
	}
	for _, poolName := range s.poolNames() {
		h, err := s.healthOf(ctx, poolName)
		if err != nil {
			return nil, err
		}
		for _, name := range h.names(exports) {
			v, err := s.volumeHealth(h, name, exports[[2]string{poolName, name}])
			if err != nil {
				return nil, err
			}
			if len(v.GetProblems()) > 0 {
				ill = append(ill, v)
			}
		}
	}
	page, next, err := paginate(ill, func(v *targetv1.VolumeHealth) key { return v.GetKey() }, req.GetMaxEntries(), req.GetToken())
	return &targetv1.ListVolumeHealthResponse{Volumes: page, NextToken: next}, err
}

// poolHealth is what the volumes of one pool have in common.
type poolHealth struct {
	name     string
	problems []pool.Problem
	volumes  map[string]bool
	// unreadable is why volumes are not known.
	unreadable error
}

// names are the volumes that are there, and those that should be because they are exported, sorted.
func (h poolHealth) names(exports map[[2]string][]store.Export) []string {
	var all []string
	for name := range h.volumes {
		all = append(all, name)
	}
	for k := range exports {
		if k[0] == h.name && !h.volumes[k[1]] {
			all = append(all, k[1])
		}
	}
	slices.Sort(all)
	return all
}

// healthOf looks at the target and at one pool. A pool that cannot be read is a problem of its volumes, not an error.
func (s *Server) healthOf(ctx context.Context, poolName string) (poolHealth, error) {
	h := poolHealth{name: poolName, volumes: map[string]bool{}}
	var err error
	if h.problems, err = s.targetProblems(); err != nil {
		return h, err
	}
	d := s.pools[poolName]
	own, err := d.Problems(ctx)
	h.problems = append(h.problems, own...)
	var volumes []pool.Volume
	if err == nil {
		volumes, err = d.Volumes(ctx)
	}
	if ctx.Err() != nil {
		return h, context.Cause(ctx)
	}
	if h.unreadable = err; err != nil {
		h.problems = append(h.problems, pool.Problem{
			Severity: pool.Inaccessible, Reason: "PoolUnreadable", Message: fmt.Sprintf("pool %s cannot be read: %v", poolName, err),
		})
	}
	for _, v := range volumes {
		h.volumes[v.Name] = true
	}
	return h, nil
}

// targetProblems are those of the kernel's target as a whole.
func (s *Server) targetProblems() ([]pool.Problem, error) {
	enabled, missing, err := s.lio.Open()
	switch {
	case err != nil:
		return nil, fmt.Errorf("look at the target: %w", err)
	case !enabled || len(missing) == len(s.cfg.Portals):
		return []pool.Problem{{Severity: pool.Inaccessible, Reason: "TargetClosed", Message: fmt.Sprintf(
			"target %s lets nobody in: restart portbind-targetd", s.cfg.IQN)}}, nil
	case len(missing) > 0:
		return []pool.Problem{{Severity: pool.Degraded, Reason: "PortalMissing", Message: fmt.Sprintf(
			"the kernel does not listen at %s: restart portbind-targetd", strings.Join(missing, ", "))}}, nil
	}
	return nil, nil
}

// volumeHealth is the pool's and the volume's own, worst first.
func (s *Server) volumeHealth(h poolHealth, name string, exports []store.Export) (*targetv1.VolumeHealth, error) {
	problems := slices.Clone(h.problems)
	if h.unreadable == nil {
		own, err := s.ownProblems(h, name, exports)
		if err != nil {
			return nil, err
		}
		problems = append(problems, own...)
	}
	slices.SortStableFunc(problems, func(a, b pool.Problem) int { return cmp.Compare(b.Severity, a.Severity) })
	out := &targetv1.VolumeHealth{Key: &targetv1.VolumeKey{Pool: h.name, Name: name}}
	for _, p := range problems {
		out.Problems = append(out.Problems, &targetv1.Problem{Severity: severities[p.Severity], Reason: p.Reason, Message: p.Message})
	}
	return out, nil
}

var severities = map[pool.Severity]targetv1.Severity{
	pool.Degraded:     targetv1.Severity_SEVERITY_DEGRADED,
	pool.Inaccessible: targetv1.Severity_SEVERITY_INACCESSIBLE,
	pool.DataLoss:     targetv1.Severity_SEVERITY_DATA_LOSS,
}

// ownProblems compares what is recorded of a volume with what LVM and the kernel have.
func (s *Server) ownProblems(h poolHealth, name string, exports []store.Export) ([]pool.Problem, error) {
	lost, served, err := s.lost(exports)
	if err != nil || len(lost) == 0 && h.volumes[name] {
		return nil, err
	}
	if !h.volumes[name] {
		return []pool.Problem{{Severity: pool.DataLoss, Reason: "VolumeMissing", Message: fmt.Sprintf(
			"volume %s/%s is published, and LVM does not have it (any more)", h.name, name)}}, nil
	}
	severity := pool.Degraded
	if served == 0 {
		severity = pool.Inaccessible
	}
	return []pool.Problem{{Severity: severity, Reason: "ExportMissing", Message: "the kernel's target lacks " +
		strings.Join(lost, "; ") + ". portbind-targetd tries to mend it every 30 s; its log says what is in the way"}}, nil
}

// lost says what is missing of exports, and how many have all. What somebody works on is not judged.
func (s *Server) lost(exports []store.Export) (lost []string, served int, err error) {
	for _, e := range exports {
		what, err := s.lacks(e)
		if err != nil {
			return nil, 0, err
		}
		if what == "" {
			served++
			continue
		}
		lost = append(lost, fmt.Sprintf("%s for %s", what, e.Initiator))
	}
	return lost, served, nil
}

// lacks says what the kernel's target lacks of an export; empty when nothing, or while it changes.
func (s *Server) lacks(e store.Export) (string, error) {
	if e.Removing || s.jobs.busy(volumeObject(&targetv1.VolumeKey{Pool: e.Pool, Name: e.Volume})) {
		return "", nil
	}
	what, err := s.lio.Lacks(s.mapping(e))
	if err != nil {
		return "", fmt.Errorf("look at the export of %s/%s: %w", e.Pool, e.Volume, err)
	}
	// Who was not at work before the look has not begun to publish since; but unpublish may have.
	if now, ok := s.export(keyOf(e)); what == "" || !ok || now.Removing {
		return "", nil
	}
	return what + s.inactive(e), nil
}

// inactive says so when a volume's block device is not there, for the message only: one that is served is held open.
func (s *Server) inactive(e store.Export) string {
	d, err := s.driver(e.Pool)
	if err != nil {
		return " (its pool is not configured any more)"
	}
	if active, err := d.Active(e.Volume); err == nil && !active {
		return " (the LV is not active)"
	}
	return ""
}
