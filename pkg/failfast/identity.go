package failfast

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
)

const (
	// askTimeout is how long iscsid may take to say its version, askAgain when it is asked again that gave none of use: it may be
	// installed or brought up to date.
	askTimeout = 10 * time.Second
	askAgain   = time.Minute
)

var (
	errNotAsked = errors.New("iscsid has not said its version yet")
	errOldISCSI = errors.New("what ISIDs this open-iscsi gives to sessions is not known; since " + iscsi.NumberingVersion + " it is")
	errISID     = errors.New("the kernel has another ISID of the session than iscsid should have made")
)

// learn finds out whether sessions have the ISIDs that they are thought to have, which their targets are told, and ends when they
// have. Otherwise a login with such an ISID would end nothing, or another session, and its success would prove nothing.
func (w *Watcher) learn(ctx context.Context) {
	said := ""
	for {
		err := w.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		w.unknown.Store(&err)
		if err == nil {
			w.report(string(w.cutting))
			return
		}
		if err.Error() != said {
			said = err.Error()
			klog.FromContext(ctx).Info("Lost sessions are left to their timers", "reason", said)
		}
		select {
		case <-time.After(askAgain):
		case <-ctx.Done():
			return
		}
	}
}

func (w *Watcher) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	version, err := w.host.version(ctx)
	if err != nil {
		return err
	}
	if !iscsi.NumbersISIDs(version) {
		return fmt.Errorf("version %s: %w", version, errOldISCSI)
	}
	return nil
}

// identified says why a session may have another ISID than the one that its target would be told. The kernel's word counts most,
// where it has one.
func (w *Watcher) identified(session int) error {
	isid, err := w.host.isid(session)
	switch {
	case err != nil:
		return err
	case isid == iscsi.ISIDOf(session):
		return nil
	case isid != iscsi.ISID{}:
		return fmt.Errorf("%w: %x", errISID, isid)
	default:
		return *w.unknown.Load()
	}
}
