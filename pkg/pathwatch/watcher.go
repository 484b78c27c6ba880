package pathwatch

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"
)

const (
	// quiet is how long nothing must happen before it looks: a NIC that is lost says so once for each path and volume.
	quiet = time.Second
	// patience is how long it waits for that when there is always something.
	patience = 5 * time.Second
	// sweep is how often it looks when nothing happens.
	sweep = 30 * time.Second
)

// Config is what a Watcher needs.
type Config struct {
	// Node is the node's name, for messages; it may be empty.
	Node string
	// View looks at the node.
	View func(ctx context.Context) (View, error)
	// Tell is given each event, after it was logged. It must not wait for anybody. Nil: the log is enough.
	Tell func(Event)
}

// Watcher looks at the paths when it is poked, and every 30 s. Its metrics are those of its last look.
type Watcher struct {
	cfg   Config
	pokes chan struct{}
	totals

	mu      sync.Mutex
	tracker *tracker
}

var _ prometheus.Collector = (*Watcher)(nil)

// New returns a Watcher; Run makes it look.
func New(cfg Config) *Watcher {
	where := "this node"
	if cfg.Node != "" {
		where = "node " + cfg.Node
	}
	return &Watcher{cfg: cfg, pokes: make(chan struct{}, 1), totals: newTotals(), tracker: newTracker(where)}
}

// Poke says that something happened. It does not wait.
func (w *Watcher) Poke() {
	select {
	case w.pokes <- struct{}{}:
	default: // it is about to look
	}
}

// Run looks at once, then after pokes when it has become quiet, and at the slow sweep, until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	for again := w.look(ctx); w.wait(ctx, again); {
		again = w.look(ctx)
	}
}

// wait returns when it is time to look; false when ctx ends.
func (w *Watcher) wait(ctx context.Context, again time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(again):
	case <-w.pokes:
		w.settle(ctx)
	}
	return ctx.Err() == nil
}

// settle waits until there has been no poke for a while.
func (w *Watcher) settle(ctx context.Context) {
	enough := time.After(patience)
	for {
		select {
		case <-ctx.Done():
			return
		case <-enough:
			return
		case <-time.After(quiet):
			return
		case <-w.pokes:
		}
	}
}

// look tells what has changed, and gives when to look again at the latest.
func (w *Watcher) look(ctx context.Context) time.Duration {
	view, err := w.cfg.View(ctx)
	if err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Look at the paths of the volumes")
		}
		return sweep
	}
	w.mu.Lock()
	n := w.tracker.update(view, time.Now())
	w.mu.Unlock()
	w.count(view, n)
	for _, e := range n.events {
		w.tell(ctx, e)
	}
	if n.again > 0 {
		return n.again
	}
	return sweep
}

func (w *Watcher) tell(ctx context.Context, e Event) {
	logger := klog.FromContext(ctx)
	if e.Volume != "" {
		logger = logger.WithValues("volume", e.Volume)
	}
	logger.Info("Storage paths changed", "reason", e.Reason, "message", e.Message)
	if w.cfg.Tell != nil {
		w.cfg.Tell(e)
	}
}
