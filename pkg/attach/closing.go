package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// closeRetired logs the sessions out that are to carry nothing any more and have no disk, without waiting for them: a target that
// is away does not answer.
func (a *Attacher) closeRetired(ctx context.Context, hosts map[int]sysfs.Session) error {
	res, err := a.cfg.Interfaces()
	if err != nil {
		return err
	}
	var errs []error
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		s := hosts[host]
		if _, err := a.sys.Session(s.ID); err != nil || !retired(s, res) {
			continue
		}
		if a.empty(s) {
			a.closeSession(ctx, s)
		}
		errs = append(errs, fmt.Errorf("session %d of %s: %w", s.ID, s.Iface, ErrStays))
	}
	return errors.Join(errs...)
}

// closeSession logs a session out in the background, once at a time.
func (a *Attacher) closeSession(ctx context.Context, s sysfs.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing[s.ID] {
		return
	}
	a.closing[s.ID] = true
	logger := klog.FromContext(ctx)
	a.background(func(ctx context.Context) {
		defer func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.closing, s.ID)
		}()
		a.retire(klog.NewContext(ctx, logger), s)
	})
}

// retire closes a session, if that is still right: nobody may be about to use it.
func (a *Attacher) retire(ctx context.Context, s sysfs.Session) {
	release, ok := a.targets.Alone(s.Target)
	if !ok {
		return // the next call looks again
	}
	defer release()
	if res, err := a.cfg.Interfaces(); err != nil || !retired(s, res) || !a.empty(s) {
		return
	}
	name, _ := iscsi.InterfaceOf(s.Iface)
	id := iscsi.NodeID{Target: s.Target, Portal: asked(s), Interface: name}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := a.cfg.ISCSI.Logout(ctx, s.ID, id); err != nil {
		klog.FromContext(ctx).Error(err, "A session of an interface that is to carry no I/O could not be closed", "session", s.ID)
		return
	}
	klog.FromContext(ctx).Info("A session was closed, since its interface is to carry no I/O", "session", s.ID, "interface", name)
	if err := a.forgetRecords(ctx, id); err != nil {
		klog.FromContext(ctx).Error(err, "Records of a closed session are left", "session", s.ID, "target", s.Target)
	}
}

// forgetRetired removes the records of interfaces that are to carry nothing any more, where no session needs them: of portals that
// never answered, and of sessions that were closed by one of us that did not live to do it.
func (a *Attacher) forgetRetired(ctx context.Context, nodes []iscsi.NodeID, res binding.Resolution) error {
	targets := map[string]bool{}
	for _, n := range nodes {
		if notUsed(n.Interface, res) {
			targets[n.Target] = true
		}
	}
	var errs []error
	for target := range targets {
		errs = append(errs, a.forgetRetiredOf(ctx, target))
	}
	return errors.Join(errs...)
}

// forgetRetiredOf does so for one target, unless an attach to it is in flight: the interface may be used again.
func (a *Attacher) forgetRetiredOf(ctx context.Context, target string) error {
	release, ok := a.targets.Alone(target)
	if !ok {
		return nil
	}
	defer release()
	res, err := a.cfg.Interfaces()
	if err != nil {
		return err
	}
	sessions, err := a.sys.Sessions()
	if err != nil {
		return err
	}
	return a.records.remove(ctx, func(n iscsi.NodeID) bool {
		_, there := findSession(sessions, n)
		return n.Target == target && !there && notUsed(n.Interface, res)
	})
}
