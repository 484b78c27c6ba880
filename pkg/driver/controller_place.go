package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

// probed is what a target answered.
type probed struct {
	Target
	info backend.Target
	err  error
}

// probe asks targets for their addresses and pools, all at once: a dead one costs no more than its own time.
func (c *Controller) probe(ctx context.Context, targets []Target) []probed {
	out := make([]probed, len(targets))
	var wg sync.WaitGroup
	for i, t := range targets {
		wg.Go(func() {
			info, err := t.Backend.Target(ctx)
			if err != nil {
				err = fmt.Errorf("target %q: %w", t.Name, err)
			}
			out[i] = probed{Target: t, info: info, err: err}
		})
	}
	wg.Wait()
	return out
}

// place is where a volume can be made.
type place struct {
	probed
	pool string
}

// places gives every place that the parameters allow. One target that does not answer is an error: what it holds is
// not known, so a volume of the same name could be made twice. StorageClasses that name a target do not depend on
// the others.
func (c *Controller) places(ctx context.Context, targetName, pool string) ([]place, error) {
	targets, err := c.matching(targetName)
	if err != nil {
		return nil, err
	}
	var out []place
	var errs []error
	var known []string
	for _, p := range c.probe(ctx, targets) {
		errs = append(errs, p.err)
		for _, name := range p.info.Pools {
			known = append(known, p.Name+"/"+name)
			if (pool == "" || pool == name) && volume.CheckPoolName("pool", name) == nil {
				out = append(out, place{probed: p, pool: name})
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, volume.NewFieldError(`parameters["pool"]`, pool, "one of "+strings.Join(known, ", "))
	}
	return out, nil
}

// matching gives the targets of a name, all when it is empty.
func (c *Controller) matching(name string) ([]Target, error) {
	if name == "" && len(c.targets) > 0 {
		return c.targets, nil
	}
	if t, ok := c.target(name); ok {
		return []Target{t}, nil
	}
	return nil, volume.NewFieldError(`parameters["target"]`, name, c.targetNames())
}

func (c *Controller) targetNames() string {
	if len(c.targets) == 0 {
		return "none, as the controller's configuration has no targets"
	}
	names := make([]string, len(c.targets))
	for i, t := range c.targets {
		names[i] = t.Name
	}
	return strings.Join(names, ", ")
}

// choose picks the place of a new volume: the one that has a volume of that name already, as a retry must find what
// the first try made; else, of those that take the size, the one with most room.
func choose(ctx context.Context, places []place, name string, required int64) (place, error) {
	if len(places) == 1 {
		return places[0], nil
	}
	for _, p := range places {
		_, err := p.Backend.Volume(ctx, backend.Key{Pool: p.pool, Name: name})
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, backend.ErrNotFound) {
			return place{}, fmt.Errorf("target %q: %w", p.Name, err)
		}
	}
	return roomiest(ctx, places, required)
}

func roomiest(ctx context.Context, places []place, required int64) (place, error) {
	var most int64
	capacities := make([]backend.Capacity, len(places))
	for i, p := range places {
		var err error
		if capacities[i], err = p.Backend.Capacity(ctx, p.pool); err != nil {
			return place{}, fmt.Errorf("target %q: %w", p.Name, err)
		}
		most = max(most, capacities[i].MaxVolumeBytes)
	}
	if most == 0 {
		return places[0], nil // All are full: the target says why.
	}
	if required > most {
		return place{}, fmt.Errorf("capacity_range.required_bytes: %d is refused; allowed: up to %d: %w",
			required, most, backend.ErrOutOfRange)
	}
	order := make([]int, len(places))
	for i := range order {
		order[i] = i
	}
	order = slices.DeleteFunc(order, func(i int) bool { return capacities[i].MaxVolumeBytes < required })
	best := slices.MaxFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(capacities[a].AvailableBytes, capacities[b].AvailableBytes), cmp.Compare(b, a))
	})
	return places[best], nil
}

// placeOf is where the source of a new volume is: thin copies stay in their pool.
func (c *Controller) placeOf(ctx context.Context, source volume.ID, p volume.Parameters) (place, error) {
	if p.Target != "" && p.Target != source.Target {
		return place{}, volume.NewFieldError(`parameters["target"]`, p.Target, source.Target+", where the source of the volume is")
	}
	if p.Pool != "" && p.Pool != source.Pool {
		return place{}, volume.NewFieldError(`parameters["pool"]`, p.Pool, source.Pool+", where the source of the volume is")
	}
	t, ok := c.target(source.Target)
	if !ok {
		return place{}, fmt.Errorf("target %q: %w", source.Target, errNoTarget)
	}
	answer := c.probe(ctx, []Target{t})[0]
	return place{probed: answer, pool: source.Pool}, answer.err
}
