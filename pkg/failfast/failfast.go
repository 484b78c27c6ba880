// Package failfast moves I/O away from a NIC the moment its link is lost. By itself the loss shows when a NOP goes
// unanswered, seconds later, and every command on the NIC waits as long. Here the news that the kernel has of the link is
// acted upon: dm-multipath is told not to send there any more, the target is told over another NIC that the session is over,
// commands no longer wait for it (recovery_tmo 0), and its connection is ended (package tcpcut), so that the loss is known
// at once.
//
// Without the target's word nothing under way may be sent again elsewhere so soon. What is on the old connection, in a switch
// or in the target's own queue, would be acted upon after it: data that is older than what has been written since, or not even
// that, since the initiator sends from the writer's own pages, and a writer whose write has succeeded uses them again.
//
// It is done to sessions of our own interfaces only, and only where every map over the session has another path that
// works, over another NIC with a link. Otherwise the session is left to its timers, for which a link may come back in time.
package failfast

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/linkwatch"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// hold is how long a link must be lost before it counts: what is back sooner TCP repairs with less harm than a new
	// login. It also lets a second NIC that goes with the first be seen.
	hold = 100 * time.Millisecond
	// retry is when a session is looked at again that was left alone or whose recovery time is to be restored.
	retry = 500 * time.Millisecond
	// wayTimeout is how long a target has for its word over one way; it waits for what the session's disks have under way.
	wayTimeout = 700 * time.Millisecond
	// goneTime is how long a NIC that has vanished is remembered.
	goneTime = 10 * time.Second
)

// Config is what a Watcher needs.
type Config struct {
	// StateFile remembers the recovery times to be restored, across restarts. BootID tells restarts from reboots.
	StateFile, BootID string
	// Off leaves sessions to their timers. Recovery times that were changed before are restored all the same.
	Off bool
	// ISCSI knows what sessions log in with.
	ISCSI *iscsi.Client
}

// Watcher acts on lost links. All its work is done by Run.
type Watcher struct {
	host  host
	nics  nics
	saved *saved
	off   bool
	// cutting is how this kernel ends connections; unknown points to why the ISIDs of sessions are not known, or to nil.
	cutting tcpcut.Method
	unknown atomic.Pointer[error]
	// done are the sessions that were dealt with, and how, since their link was lost.
	done map[int]outcome
	totals
}

// New makes a Watcher for this machine.
func New(ctx context.Context, c Config) *Watcher {
	cutter, err := tcpcut.New(ctx, tcpcut.Options{Proc: "/proc", Owner: "iscsid"})
	log := klog.FromContext(ctx)
	switch {
	case c.Off:
		log.Info("Instant failover is turned off: the timers of a lost link's sessions have to run out")
	case cutter.Method() == tcpcut.None:
		log.Info("This kernel cannot end the connections of a lost link: its sessions' timers have to run out", "reason", err.Error())
	case err != nil:
		log.Info("Connections of a lost link are ended through iscsid's descriptors", "reason", err.Error())
	}
	return newWatcher(kernel{sys: sysfs.Default, dm: multipath.NewDM("/dev"), cutter: cutter, iscsi: c.ISCSI}, c, cutter.Method())
}

func newWatcher(h host, c Config, method tcpcut.Method) *Watcher {
	w := &Watcher{
		host: h, nics: nics{}, saved: &saved{file: c.StateFile, bootID: c.BootID, Sessions: map[int]recovery{}}, off: c.Off,
		cutting: method, done: map[int]outcome{}, totals: newTotals(),
	}
	w.unknown.Store(&errNotAsked)
	w.report(string(tcpcut.None))
	if w.off {
		w.report(methodOff)
	}
	return w
}

// Run works until ctx ends, and then returns nil. The network namespace must be the host's.
func (w *Watcher) Run(ctx context.Context) error {
	if err := w.saved.load(); err != nil {
		klog.FromContext(ctx).Error(err, "Recovery times that were set to 0 before a restart may stay so")
	}
	links := make(chan linkwatch.Link, 64)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(links)
		return linkwatch.Links(ctx, func(l linkwatch.Link) {
			select {
			case links <- l:
			case <-ctx.Done():
			}
		})
	})
	group.Go(func() error {
		if !w.off {
			w.learn(ctx)
		}
		return nil
	})
	group.Go(func() error {
		w.loop(ctx, links)
		return nil
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("watch for lost links: %w", err)
	}
	return nil
}

// loop takes a step after each change of a link, and when the last step asked for one.
func (w *Watcher) loop(ctx context.Context, links <-chan linkwatch.Link) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case l, open := <-links:
			if !open {
				return
			}
			w.nics.hear(l, time.Now())
		case <-timer.C:
		}
		if next := w.step(ctx, time.Now()); next > 0 {
			timer.Reset(next)
		}
	}
}

// step does what is due and says when the next one is; 0 is when a link changes.
func (w *Watcher) step(ctx context.Context, now time.Time) (next time.Duration) {
	sooner := func(d time.Duration) {
		if d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	lost, wait := w.nics.lost(now)
	sooner(wait)
	if len(lost) > 0 && !w.off {
		sooner(w.leave(ctx, lost))
	} else {
		clear(w.done)
	}
	sooner(w.restore(ctx))
	return next
}
