package attach

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// probeGrace is what a portal that nothing is known of gets to answer when MinPaths are there without it.
	probeGrace = 200 * time.Millisecond
	// patience is what a portal that answers gets beyond the last path that came, when MinPaths are there without it; or
	// the time that the last path took, if that is longer: a busy node is slow for all. What takes longer joins later.
	patience = 3 * time.Second
	// lateTime bounds what goes on in the background for a path that was not waited for.
	lateTime = time.Minute
)

// path is one pair that has come all the way to a disk with the right WWID.
type path struct {
	pair    binding.Pair
	session sysfs.Session
	disk    sysfs.Disk
}

// outcome is what became of a pair. alive without an error and without a path: its portal answers, it may take a while.
type outcome struct {
	pair  int
	alive bool
	path  path
	err   error
}

// gathering collects the paths of a volume.
type gathering struct {
	spec    Spec
	pairs   []binding.Pair
	have    []sysfs.Session
	results chan outcome

	start, last time.Time // of gathering, and when the last path came
	paths       []path
	failed      []*PairError
	// pending has the pairs without a result: true once their portal answered.
	pending map[int]bool
	// silent has the pairs whose portal did not answer a short while ago.
	silent map[int]bool
}

// gather brings all pairs to a disk at once, and returns when all that can be reached are there. A portal that does not
// answer is not waited for once MinPaths are there; it is tried on in the background, and what comes of it joins the
// map later. No pair is an error here: the caller counts.
func (a *Attacher) gather(ctx context.Context, spec Spec, pairs []binding.Pair) ([]path, []*PairError, error) {
	have, err := a.sys.Sessions()
	if err != nil {
		return nil, nil, err
	}
	g := &gathering{
		spec: spec, pairs: pairs, have: have, results: make(chan outcome, 2*len(pairs)),
		pending: map[int]bool{}, silent: map[int]bool{},
	}
	// The pairs outlive a call that succeeds without them, not one that is given up.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTime)
	giveUp := context.AfterFunc(ctx, cancel)
	var all sync.WaitGroup
	for i, p := range pairs {
		g.pending[i], g.silent[i] = false, a.knownSilent(nodeID(spec.Target, p))
		all.Go(func() { g.results <- a.reach(late, g, i) })
	}
	go func() {
		all.Wait()
		cancel()
	}()
	g.collect(ctx)
	if giveUp() && len(g.pending) > 0 {
		a.background(func(ctx context.Context) { a.joinLate(ctx, g, len(g.pending)) })
	}
	return g.paths, g.failed, nil
}

// reach is one pair's way: session, scan, disk.
func (a *Attacher) reach(ctx context.Context, g *gathering, i int) outcome {
	o := outcome{pair: i}
	alive := func() { g.results <- outcome{pair: i, alive: true} }
	p, err := a.path(ctx, dial{spec: g.spec, pair: g.pairs[i], alive: alive, have: g.have})
	o.path, o.err = p, err
	return o
}

// path brings one pair to its disk.
func (a *Attacher) path(ctx context.Context, d dial) (path, error) {
	times := newLaps()
	s, err := a.session(ctx, d)
	times.lap("session")
	if err != nil {
		return path{}, err
	}
	disk, err := a.disk(ctx, s, d.spec.LUN, d.spec.WWID)
	times.lap("disk")
	times.log(ctx, 4, "Path", "pair", pairName(d.pair.Interface.Name, d.pair.Interface.NIC, d.pair.Portal), "disk", disk.Name)
	return path{pair: d.pair, session: s, disk: disk}, err
}

// collect takes results until nothing is pending that is worth waiting for.
func (g *gathering) collect(ctx context.Context) {
	g.start = time.Now()
	timer := time.NewTimer(probeGrace)
	defer timer.Stop()
	for len(g.pending) > 0 {
		wait := g.worthWaiting()
		if wait <= 0 {
			return
		}
		timer.Reset(wait)
		select {
		case o := <-g.results:
			g.take(o)
		case <-timer.C:
		case <-ctx.Done():
			g.giveUp(ctx)
			return
		}
	}
}

// worthWaiting says for how long a result is to be waited for.
func (g *gathering) worthWaiting() time.Duration {
	if len(g.paths) < g.spec.MinPaths {
		return time.Hour // as long as the caller's context
	}
	var wait time.Duration
	for i, alive := range g.pending {
		switch {
		case alive:
			wait = max(wait, max(patience, g.last.Sub(g.start))-time.Since(g.last))
		case !g.silent[i]:
			wait = max(wait, probeGrace-time.Since(g.start))
		}
	}
	return wait
}

func (g *gathering) take(o outcome) {
	switch {
	case o.alive:
		if _, ok := g.pending[o.pair]; ok {
			g.pending[o.pair] = true
		}
		return
	case o.err != nil:
		g.failed = append(g.failed, &PairError{Pair: g.pairs[o.pair], Err: o.err})
	default:
		g.paths, g.last = append(g.paths, o.path), time.Now()
	}
	delete(g.pending, o.pair)
}

// giveUp says of the rest that there was no time.
func (g *gathering) giveUp(ctx context.Context) {
	for i := range g.pending {
		g.failed = append(g.failed, &PairError{Pair: g.pairs[i], Err: fmt.Errorf("gave up: %w", context.Cause(ctx))})
	}
}

// joinLate adds paths that came after the attach had returned.
func (a *Attacher) joinLate(ctx context.Context, g *gathering, n int) {
	for n > 0 {
		select {
		case <-ctx.Done():
			return
		case o := <-g.results:
			if o.alive {
				continue
			}
			n--
			err := o.err
			if err == nil {
				err = a.join(ctx, o.path.disk)
			}
			if err != nil && !errors.Is(err, iscsi.ErrTimeout) {
				klog.FromContext(ctx).Info("A path did not join", "pair", (&PairError{Pair: g.pairs[o.pair], Err: err}).Error())
			}
		}
	}
}
