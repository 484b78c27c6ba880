package attach

import (
	"context"
	"errors"
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

// outcome is what became of a pair.
type outcome struct {
	pair int
	path path
	err  error
}

// gathering collects the paths of a volume.
type gathering struct {
	spec    Spec
	pairs   []binding.Pair
	have    []sysfs.Session
	results chan outcome
	// contact says what is known of a pair's portal now, through this volume or another.
	contact func(pair int) contact

	start, last time.Time // of gathering, and when the last path came
	paths       []path
	failed      []*PairError
	// pending has the pairs without a result.
	pending map[int]bool
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
		spec: spec, pairs: pairs, have: have, results: make(chan outcome, len(pairs)),
		pending: map[int]bool{},
		contact: func(i int) contact { return a.contact(nodeID(spec.Target, pairs[i])) },
	}
	// The pairs outlive a call that succeeds without them, not one that is given up.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateTime)
	giveUp := context.AfterFunc(ctx, cancel)
	var all sync.WaitGroup
	for i := range pairs {
		g.pending[i] = true
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
	p, err := a.path(ctx, dial{spec: g.spec, pair: g.pairs[i], have: g.have})
	return outcome{pair: i, path: p, err: err}
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
		// Not for long: a portal may answer, or be asked, meanwhile.
		timer.Reset(min(wait, probeGrace))
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
	for i := range g.pending {
		wait = max(wait, g.worth(g.contact(i)))
	}
	return wait
}

func (g *gathering) worth(c contact) time.Duration {
	switch {
	case c.asked.IsZero():
		since := g.last
		if c.heard.After(since) {
			since = c.heard
		}
		return max(patience, g.last.Sub(g.start)) - time.Since(since)
	case time.Since(c.silent) < silentTime:
		return 0
	default:
		return probeGrace - time.Since(c.asked)
	}
}

func (g *gathering) take(o outcome) {
	if o.err != nil {
		g.failed = append(g.failed, &PairError{Pair: g.pairs[o.pair], Err: o.err})
	} else {
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
			n--
			err := o.err
			if err == nil {
				err = errors.Join(a.join(ctx, o.path.disk), a.keepGoverned(ctx, g.spec))
			}
			if err != nil {
				klog.FromContext(ctx).V(2).Info("A path did not join", "pair", (&PairError{Pair: g.pairs[o.pair], Err: err}).Error())
			}
		}
	}
}
