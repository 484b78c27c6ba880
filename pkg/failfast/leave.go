package failfast

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/iscsi"
)

// errNoWay: a session's end cannot be told to the target.
var errNoWay = errors.New("no session of ours leads into the same portal group over another NIC")

// outcome is what became of a session whose link was lost.
type outcome string

const (
	// cut: its connection was ended, and its I/O goes elsewhere.
	cut outcome = "cut"
	// timers: this kernel cannot end it. New I/O goes elsewhere, that under way waits for a NOP to be missed.
	timers outcome = "timers"
	// spared: a map over it has no other path.
	spared outcome = "spared"
	// unconfirmed: the target has not said that it is over. New I/O goes elsewhere, that under way waits for the timers.
	unconfirmed outcome = "unconfirmed"
	// vanished: it had no connection any more.
	vanished outcome = "vanished"
	// failed: ending its connection failed.
	failed outcome = "failed"
)

// leave takes the I/O off the lost NICs. It says when to look again, 0 for never: every session is dealt with once in a loss,
// but one that could not be left is looked at until its timers have run out.
func (w *Watcher) leave(ctx context.Context, lost map[string]nic) (again time.Duration) {
	v, err := w.host.look(slices.Collect(maps.Keys(lost)))
	if err != nil {
		klog.FromContext(ctx).Error(err, "Sessions of a lost link are left to their timers for now")
		return retry
	}
	w.forget(v, lost)
	var leaving []hostage
	for _, h := range hostages(v, w.nics, lost) {
		is, before := w.done[h.ID]
		switch {
		case before && is != spared && is != unconfirmed:
			continue
		case len(h.stuck) == 0:
			leaving = append(leaving, h)
			continue
		case !before:
			w.spare(ctx, h)
		}
		again = retry
	}
	leaving, missing := w.confirm(ctx, leaving)
	if missing {
		again = retry
	}
	w.hurry(ctx, leaving)
	w.part(ctx, leaving)
	return again
}

// confirm fails the sessions' paths, so that nothing new goes there, and gives those that the target has ended. What there may
// still be of the others nobody knows.
func (w *Watcher) confirm(ctx context.Context, leaving []hostage) (over []hostage, missing bool) {
	errs := make([]error, len(leaving))
	var all sync.WaitGroup
	for i, h := range leaving {
		w.failPaths(ctx, h)
		all.Go(func() { errs[i] = w.end(ctx, h) })
	}
	all.Wait()
	for i, h := range leaving {
		if errs[i] == nil {
			over = append(over, h)
			continue
		}
		if _, before := w.done[h.ID]; !before {
			w.note(ctx, h, unconfirmed, errs[i])
		}
	}
	return over, len(over) < len(leaving)
}

// end tells the target that a session is over, by one way after the other.
func (w *Watcher) end(ctx context.Context, h hostage) error {
	if err := w.identified(h.ID); err != nil {
		return err
	}
	if len(h.ways) == 0 {
		return errNoWay
	}
	var errs []error
	for _, over := range h.ways {
		ctx, cancel := context.WithTimeout(ctx, wayTimeout)
		err := w.host.end(ctx, h.Session, over)
		cancel()
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forget lets sessions be dealt with again that have been logged in anew, or whose NIC has its link back.
func (w *Watcher) forget(v view, lost map[string]nic) {
	maps.DeleteFunc(w.done, func(id int, _ outcome) bool {
		s, ok := v.sessions[id]
		_, isLost := lost[s.NIC]
		return !ok || !isLost || !s.LoggedIn()
	})
}

// hurry makes commands not wait for the sessions. It must come before the loss is known to the kernel, which refuses it then.
// What cannot be remembered is not changed.
func (w *Watcher) hurry(ctx context.Context, leaving []hostage) {
	log := klog.FromContext(ctx)
	if err := w.saved.add(leaving); err != nil {
		log.Error(err, "Commands wait for the recovery time of lost sessions")
		return
	}
	for _, h := range leaving {
		if h.RecoveryTimeout <= 0 {
			continue
		}
		if err := w.host.setRecovery(h.ID, 0); err != nil {
			log.Error(err, "Commands wait for the recovery time of a lost session", "session", h.ID)
		}
	}
}

// part ends the sessions' connections, all before anything else: on a busy machine what follows may have to wait.
func (w *Watcher) part(ctx context.Context, leaving []hostage) {
	errs := make([]error, len(leaving))
	for i, h := range leaving {
		errs[i] = w.host.cut(h.ID, h.nic.Index)
	}
	for i, h := range leaving {
		w.note(ctx, h, parted(errs[i]), errs[i])
	}
}

// parted says what it means how ending a connection went.
func parted(err error) outcome {
	switch {
	case err == nil:
		return cut
	case errors.Is(err, tcpcut.ErrNoSocket):
		return vanished
	case errors.Is(err, tcpcut.ErrUnsupported):
		return timers
	default:
		return failed
	}
}

// spare leaves a session to its timers, for the sake of the maps that have no other path. The others need not wait for it.
func (w *Watcher) spare(ctx context.Context, h hostage) {
	w.failPaths(ctx, h)
	w.note(ctx, h, spared, nil)
}

// failPaths keeps new I/O away from a session.
func (w *Watcher) failPaths(ctx context.Context, h hostage) {
	for _, f := range h.fails {
		// A map that has lost the path meanwhile refuses it, and nothing is amiss.
		if err := w.host.failPath(f.uuid, f.devno); err != nil {
			klog.FromContext(ctx).V(2).Info("A path of a lost link was not failed", "map", f.uuid, "disk", f.devno, "reason", err.Error())
		}
	}
}

// note remembers, counts and logs what was done.
func (w *Watcher) note(ctx context.Context, h hostage, is outcome, err error) {
	w.done[h.ID] = is
	name, _ := iscsi.InterfaceOf(h.Iface)
	w.sessions.WithLabelValues(name, string(is)).Inc()
	log := klog.FromContext(ctx).WithValues("interface", name, "nic", h.NIC, "session", h.ID, "portal", h.Portal,
		"since", time.Since(h.nic.since).Round(time.Millisecond))
	switch is {
	case spared:
		log.Info("Link lost: a volume has no other path, the session is left to its timers", "maps", h.stuck)
	case unconfirmed:
		log.Error(err, "Link lost: the target did not confirm that the session is over, commands under way are left to its timers")
	case failed:
		log.Error(err, "Link lost: the session's connection could not be ended, its timers have to run out")
	case cut, timers, vanished:
		log.Info("Link lost: I/O goes elsewhere", "outcome", is, "maps", len(h.fails))
	}
}
