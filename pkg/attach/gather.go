package attach

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// probeGrace is what a portal that nothing is known of gets to answer when MinPaths are there without it.
	probeGrace = 300 * time.Millisecond
	// patience is how long nothing may come of a portal that answers, when MinPaths are there without it; or the time that
	// the last path took, if that is longer: a busy node is slow for all. What takes longer joins later.
	patience = 3 * time.Second
	// lateTime bounds a pair's way, also when it was not waited for.
	lateTime = 5 * time.Minute
)

// path is one pair that has come all the way to a disk with the right WWID.
type path struct {
	pair    binding.Pair
	session sysfs.Session
	disk    sysfs.Disk
}

// outcome is what became of a pair, or news of it on the way.
type outcome struct {
	pair int
	news *progress
	path path
	err  error
}

// progress is what is known of a pair that is under way. The zero value: its turn has not come, or it is beyond doubt.
type progress struct {
	// asked is when a portal was asked to answer that has not yet.
	asked time.Time
}

// gathering collects the paths of a volume.
type gathering struct {
	spec    Spec
	pairs   []binding.Pair
	have    []sysfs.Session
	results chan outcome
	// heard says when something last came of a pair, for this volume or another.
	heard func(pair int) time.Time

	start, last time.Time // of gathering, and when the last path came
	paths       []path
	failed      []*PairError
	// pending has the pairs without a result.
	pending map[int]progress
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
		spec: spec, pairs: pairs, have: have, results: make(chan outcome, 3*len(pairs)),
		pending: map[int]progress{}, silent: map[int]bool{},
	}
	g.heard = func(i int) time.Time { return a.lastHeard(nodeID(spec.Target, pairs[i])) }
	// The pairs outlive a call that succeeds without them, not one that is given up.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTime)
	giveUp := context.AfterFunc(ctx, cancel)
	var all sync.WaitGroup
	for i, p := range pairs {
		g.pending[i], g.silent[i] = progress{}, a.knownSilent(nodeID(spec.Target, p))
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
	asking := func() { g.results <- outcome{pair: i, news: &progress{asked: time.Now()}} }
	answered := func() { g.results <- outcome{pair: i, news: &progress{}} }
	p, err := a.path(ctx, dial{spec: g.spec, pair: g.pairs[i], asking: asking, answered: answered, have: g.have})
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
	if err == nil {
		a.hear(nodeID(d.spec.Target, d.pair))
	}
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
	for i, p := range g.pending {
		switch {
		case p.asked.IsZero():
			since := g.last
			if heard := g.heard(i); heard.After(since) {
				since = heard
			}
			wait = max(wait, max(patience, g.last.Sub(g.start))-time.Since(since))
		case !g.silent[i]:
			wait = max(wait, probeGrace-time.Since(p.asked))
		}
	}
	return wait
}

func (g *gathering) take(o outcome) {
	switch {
	case o.news != nil:
		g.pending[o.pair] = *o.news
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
			if o.news != nil {
				continue
			}
			n--
			err := o.err
			if err == nil {
				err = a.join(ctx, o.path.disk)
			}
			if err != nil {
				klog.FromContext(ctx).V(2).Info("A path did not join", "pair", (&PairError{Pair: g.pairs[o.pair], Err: err}).Error())
			}
		}
	}
}
