package pathwatch

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/pokes"
)

const (
	// quiet is how long nothing must happen before it looks: a NIC that is lost says so once for each path and volume.
	quiet = time.Second
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
	pokes pokes.Pokes
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
	return &Watcher{cfg: cfg, pokes: pokes.New(quiet), totals: newTotals(), tracker: newTracker(where)}
}

// Poke says that something happened. It does not wait.
func (w *Watcher) Poke() { w.pokes.Poke() }

// Run looks at once, then after pokes when it has become quiet, and at the slow sweep, until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	for ctx.Err() == nil {
		w.pokes.Wait(ctx, w.look(ctx))
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
