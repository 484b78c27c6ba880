package compliance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/pokes"
)

const (
	// quiet is how long nothing must happen before it looks.
	quiet = 500 * time.Millisecond
	// sweep is how often it looks when nothing happens: nobody says when a sysctl or a route changes.
	sweep = 30 * time.Second
	// soon is after what time it looks again when no portal answers through some NIC; each further time it waits twice as long, up
	// to the sweep. Nobody says when the network beyond a NIC, or the target, is back.
	soon = time.Second
)

// Reasons of events.
const (
	Misconfigured = "StorageInterfaceMisconfigured"
	Well          = "StorageInterfaceCompliant"
	// OutOfUse and InUse are of an interface that is drained, and of one that was.
	OutOfUse = "StorageInterfaceDrained"
	InUse    = "StorageInterfaceUndrained"
)

// Event is one change of an interface, to be told once.
type Event struct {
	// Warning says that it is for the worse.
	Warning bool
	// Reason is one of the constants above, Message a sentence that says what is wrong, and what to do.
	Reason, Message string
}

// Config is what a Watcher needs.
type Config struct {
	Node Node
	// Keeper sets what the kernel needs. Nil: nothing is set.
	Keeper *Keeper
	// Tell is given each event, after it was logged. It must not wait for anybody. Nil: the log is enough.
	Tell func(Event)
}

// Watcher judges the interfaces when it is poked, every 30 s, and more often while a portal is newly out of reach.
type Watcher struct {
	cfg   Config
	pokes pokes.Pokes
	probe *prober
	desc  *prometheus.Desc

	mu  sync.Mutex
	now []Status
}

var _ prometheus.Collector = (*Watcher)(nil)

// New returns a Watcher; Run makes it look.
func New(cfg Config) *Watcher {
	return &Watcher{
		cfg: cfg, pokes: pokes.New(quiet), probe: newProber(),
		desc: prometheus.NewDesc("portbind_interface_compliance",
			"Whether a storage interface of this node is in this state: 1 for one of its states, 0 for the others.",
			[]string{"interface", "state"}, nil),
	}
}

// Poke says that something changed. It does not wait.
func (w *Watcher) Poke() { w.pokes.Poke() }

// Statuses are those of the last look, to be read only.
func (w *Watcher) Statuses() []Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Run looks at once, then after pokes when it has become quiet, soon where no portal answered, and at the slow sweep, until ctx
// ends.
func (w *Watcher) Run(ctx context.Context) {
	var again retry
	for ctx.Err() == nil {
		unreachable := w.look(ctx)
		if poked := w.pokes.Wait(ctx, again.after(unreachable)); poked {
			again = retry{}
		}
	}
}

// retry says when to try portals again.
type retry struct {
	last time.Duration
	of   map[string]string
}

// after is when to look again, given which interfaces reach no portal now: soon when one is newly so, then later and later.
func (r *retry) after(unreachable map[string]string) time.Duration {
	next := min(2*r.last, sweep)
	for name := range unreachable {
		if _, known := r.of[name]; !known {
			next = soon
		}
	}
	r.last, r.of = next, unreachable
	if len(unreachable) == 0 {
		return sweep
	}
	return next
}

// look judges the node as it is now, tells what has changed, and gives the interfaces that reach no portal.
func (w *Watcher) look(ctx context.Context) (unreachable map[string]string) {
	snapshot, err := w.snapshot(ctx)
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Some of the interfaces' state is not known")
	}
	if snapshot.Sysctls == nil {
		return nil
	}
	w.probe.probe(ctx, &snapshot)
	if ctx.Err() != nil {
		return nil
	}
	now := Evaluate(snapshot)
	w.mu.Lock()
	before := w.now
	w.now = now
	w.mu.Unlock()
	for _, s := range now {
		w.tell(ctx, find(before, s.Interface), s)
	}
	return snapshot.Unreachable
}

// snapshot is of the node after the kernel was given what it needs.
func (w *Watcher) snapshot(ctx context.Context) (Snapshot, error) {
	snapshot, err := w.cfg.Node.Snapshot(ctx)
	if w.cfg.Keeper == nil || snapshot.Sysctls == nil {
		return snapshot, err
	}
	changed, setErr := w.cfg.Keeper.Apply(ctx, snapshot)
	if changed {
		snapshot, err = w.cfg.Node.Snapshot(ctx)
	}
	return snapshot, errors.Join(err, setErr)
}

func find(all []Status, name string) *Status {
	for _, s := range all {
		if s.Interface == name {
			return &s
		}
	}
	return nil
}

// tell logs what an interface has become, and hands on what is not told elsewhere.
func (w *Watcher) tell(ctx context.Context, before *Status, now Status) {
	is := now.State()
	if before != nil && before.State() == is && before.NIC == now.NIC {
		return
	}
	logger := klog.FromContext(ctx).WithValues("interface", now.Interface, "nic", now.NIC, "state", is)
	if is == Compliant {
		logger.Info("Storage interface is compliant", "note", now.Note)
	} else {
		logger.Info("Storage interface is not compliant", "message", now.Findings[0].Message, "fix", now.Findings[0].Fix)
	}
	if e, ok := event(before, now); ok && w.cfg.Tell != nil {
		w.cfg.Tell(e)
	}
}

// event gives what to tell Kubernetes. Missing NICs, links and addresses are told by the watcher of the paths.
func event(before *Status, now Status) (Event, bool) {
	is, name := now.State(), now.Interface
	if now.NIC != "" {
		name += " (" + now.NIC + ")"
	}
	switch {
	case is == Drained:
		return Event{false, OutOfUse, "Storage interface " + name + " carries no I/O: " + now.Findings[0].Message}, true
	case before != nil && before.State() == Drained && (is == Compliant || is == NoNIC || is == NoIP || is == LinkDown):
		return Event{false, InUse, "Storage interface " + name + " is to carry I/O again"}, true
	case is == Compliant && before == nil, is == NoNIC, is == NoIP, is == LinkDown:
		return Event{}, false
	case is != Compliant:
		f := now.Findings[0]
		return Event{true, Misconfigured, fmt.Sprintf("Storage interface %s: %s: %s. %s", name, is, f.Message, f.Fix)}, true
	case !before.State().Present():
		return Event{false, Well, "Storage interface " + name + " is compliant. Where Kubernetes knows the node without it " +
			"(topology), it learns of it when the node plugin's pod is restarted"}, true
	case before.State() == LinkDown:
		return Event{}, false
	default:
		return Event{false, Well, "Storage interface " + name + " is compliant"}, true
	}
}

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) { ch <- w.desc }

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	for _, s := range w.Statuses() {
		for _, state := range States() {
			is := 0.0
			if s.State() == state {
				is = 1
			}
			ch <- prometheus.MustNewConstMetric(w.desc, prometheus.GaugeValue, is, s.Interface, string(state))
		}
	}
}
