package attach

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// timing makes the timers of sessions be as the volumes over them wish. A session carries all volumes of its target, so the most
// urgent wish counts.
type timing struct {
	mu     sync.Mutex
	urgent map[string]string // target by WWID, of attached volumes with fast failure detection

	// keeping is held while sessions are given timers: the last word is about the wishes of then.
	keeping  sync.Mutex
	recorded map[iscsi.NodeID]iscsi.Timers // what records say that were looked at
	former   map[int]int                   // the recovery times, by session, of those that were shortened
}

// wish notes what an attached volume wants.
func (t *timing) wish(wwid string, spec Spec) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if spec.Policy.FailureDetection != DetectFast || wwid == "" {
		delete(t.urgent, wwid)
		return
	}
	if t.urgent == nil {
		t.urgent = map[string]string{}
	}
	t.urgent[wwid] = spec.Target
}

// forget drops the wish of a volume that is detached, and gives its target when there was one.
func (t *timing) forget(wwid string) (target string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	target = t.urgent[wwid]
	delete(t.urgent, wwid)
	return target
}

func (t *timing) isUrgent(target string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range t.urgent {
		if of == target {
			return true
		}
	}
	return false
}

// timersOf are those that the sessions of a target should have.
func (a *Attacher) timersOf(target string) iscsi.Timers {
	if a.timing.isUrgent(target) {
		return a.cfg.Timers.Sooner(iscsi.QuickTimers())
	}
	return a.cfg.Timers
}

// keepTimers has the sessions of a target, and their records, have the timers that its volumes wish. Nothing is logged out: what the
// kernel counts by is changed in the session. iscsid goes on with what it read at the login, so a session that was lost and is back has
// that again, until this is called.
func (a *Attacher) keepTimers(ctx context.Context, target string) error {
	a.timing.keeping.Lock()
	defer a.timing.keeping.Unlock()
	sessions, err := a.sys.Sessions()
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range sessions {
		if name, ours := iscsi.InterfaceOf(s.Iface); ours && s.Target == target {
			errs = append(errs, a.keepTimersOf(ctx, s, iscsi.NodeID{Target: target, Portal: asked(s), Interface: name}))
		}
	}
	return errors.Join(errs...)
}

func (a *Attacher) keepTimersOf(ctx context.Context, s sysfs.Session, id iscsi.NodeID) error {
	want := a.timersOf(s.Target)
	err := a.recordTimers(ctx, id, want)
	if !s.LoggedIn() {
		return err
	}
	changed, kept := a.cfg.ISCSI.KeepNoop(ctx, s.ID, want)
	if changed {
		klog.FromContext(ctx).Info("The timers of a session are changed",
			"session", s.ID, "interface", id.Interface, "noopInterval", want.NoopInterval, "noopTimeout", want.NoopTimeout)
	}
	return errors.Join(err, kept, a.keepRecovery(s))
}

func (a *Attacher) recordTimers(ctx context.Context, id iscsi.NodeID, want iscsi.Timers) error {
	if a.timing.recorded[id] == want || !id.Portal.IsValid() {
		return nil
	}
	if err := a.cfg.ISCSI.KeepTimers(ctx, id, want); err != nil {
		return err
	}
	if a.timing.recorded == nil {
		a.timing.recorded = map[iscsi.NodeID]iscsi.Timers{}
	}
	a.timing.recorded[id] = want
	return nil
}

// keepRecovery shortens the time that commands wait for a lost session, where multipathd has been told a longer one: by its own default
// of 5 s for static volumes. It writes it again when it is reloaded. 0 is somebody's who is at work (pkg/failfast).
func (a *Attacher) keepRecovery(s sysfs.Session) error {
	quick := int(iscsi.QuickTimers().Replacement / time.Second)
	former, shortened := a.timing.former[s.ID]
	want := quick
	switch urgent := a.timing.isUrgent(s.Target); {
	case urgent && s.RecoveryTimeout > quick:
		former = s.RecoveryTimeout
	case !urgent && shortened && s.RecoveryTimeout == quick:
		want = former
	default:
		return nil
	}
	err := a.sys.SetRecoveryTimeout(s.ID, want)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, sysfs.ErrGone) {
		return nil // lost meanwhile
	}
	if err != nil {
		return err
	}
	if a.timing.former == nil {
		a.timing.former = map[int]int{}
	}
	a.timing.former[s.ID] = former
	return nil
}

// tryTimers is keepTimers where the volume is of use all the same: Govern comes back to it.
func (a *Attacher) tryTimers(ctx context.Context, target string) {
	if err := a.keepTimers(ctx, target); err != nil {
		klog.FromContext(ctx).Error(err, "Sessions do not have the timers that their volumes wish", "target", target)
	}
}

// keepUrgent gives a session that iscsid has brought back, with the timers of its login, those of fast failure detection again. The
// others can wait until their volume is next governed.
func (a *Attacher) keepUrgent(ctx context.Context, s sysfs.Session) {
	if !s.LoggedIn() || !a.timing.isUrgent(s.Target) {
		return
	}
	want := a.timersOf(s.Target)
	interval, timeout := time.Duration(s.NoopInterval)*time.Second, time.Duration(s.NoopTimeout)*time.Second
	if interval != want.NoopInterval || timeout != want.NoopTimeout {
		a.tryTimers(ctx, s.Target)
	}
}

// rewritten says that a record may have other timers than it was last seen with.
func (a *Attacher) rewritten(id iscsi.NodeID) {
	a.timing.keeping.Lock()
	defer a.timing.keeping.Unlock()
	delete(a.timing.recorded, id)
}
