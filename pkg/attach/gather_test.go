package attach

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/binding"
)

// gathered is a gathering of n pairs of which nothing is known.
func gathered(n, minPaths int) *gathering {
	g := &gathering{
		spec: Spec{MinPaths: minPaths}, pairs: make([]binding.Pair, n), results: make(chan outcome, n),
		pending: map[int]bool{}, contact: func(int) contact { return contact{} },
	}
	for i := range n {
		g.pending[i] = true
	}
	g.start = time.Now()
	return g
}

func TestCollectAll(t *testing.T) {
	g := gathered(3, 1)
	for i := range 3 {
		go func() { <-time.After(time.Duration(i) * 10 * time.Millisecond); g.results <- outcome{pair: i} }()
	}
	g.collect(t.Context())
	if len(g.paths) != 3 || len(g.pending) != 0 {
		t.Errorf("%d paths, pending %v", len(g.paths), g.pending)
	}
}

// A portal that was asked and does not answer adds its grace at most, and nothing when it is known to be silent.
func TestCollectDead(t *testing.T) {
	for _, known := range []bool{false, true} {
		g := gathered(3, 2)
		c := contact{asked: time.Now()}
		if known {
			c.silent = time.Now().Add(-time.Second)
		}
		g.contact = func(int) contact { return c }
		g.results <- outcome{pair: 0}
		g.results <- outcome{pair: 1}
		start := time.Now()
		g.collect(t.Context())
		took := time.Since(start)
		if len(g.paths) != 2 || took > probeGrace+200*time.Millisecond || (known && took > 100*time.Millisecond) {
			t.Errorf("known %v: %d paths after %v", known, len(g.paths), took)
		}
	}
}

func TestCollectTooFew(t *testing.T) {
	g := gathered(2, 2)
	g.results <- outcome{pair: 0}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	g.collect(ctx)
	if len(g.paths) != 1 || len(g.failed) != 1 || !errors.Is(g.failed[0], context.DeadlineExceeded) {
		t.Errorf("%d paths, failed %v", len(g.paths), g.failed)
	}
}

// What comes of a portal through another volume counts for this one, too.
func TestHeardElsewhere(t *testing.T) {
	g := gathered(2, 1)
	g.start, g.last = time.Now().Add(-time.Minute), time.Now().Add(-50*time.Second)
	g.paths = make([]path, 1)
	delete(g.pending, 0)
	if wait := g.worthWaiting(); wait > 0 {
		t.Errorf("nothing came for 50 s, still waiting for %v", wait)
	}
	g.contact = func(int) contact { return contact{heard: time.Now().Add(-time.Second)} }
	if wait := g.worthWaiting(); wait <= 0 {
		t.Error("the portal served others a second ago, and is not waited for")
	}
}

func TestPathsError(t *testing.T) {
	failed := func(iface, nic, portal string, err error) *PairError {
		return &PairError{
			Pair: binding.Pair{Interface: binding.Interface{Name: iface, NIC: nic}, Portal: netip.MustParseAddrPort(portal)}, Err: err,
		}
	}
	err := error(&PathsError{Have: 1, Want: 2, Pairs: []*PairError{
		failed("san-b", "eth3", "192.0.2.1:3260", ErrAuth), failed("san-a", "eth2", "192.0.2.2:3260", ErrNotFound),
		failed("san-a", "eth2", "192.0.2.1:3260", ErrAuth),
	}})
	want := "too few paths: have 1 of 2 wanted; san-a (eth2) to 192.0.2.1:3260, san-b (eth3) to 192.0.2.1:3260: authentication failed; " +
		"san-a (eth2) to 192.0.2.2:3260: not attached"
	if !errors.Is(err, ErrTooFewPaths) || !errors.Is(err, ErrAuth) || err.Error() != want {
		t.Error(err)
	}
}
