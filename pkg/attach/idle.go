package attach

import (
	"context"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// logoutIdle closes our sessions that have had no disk for the grace time. All it needs to know is in sysfs, so it
// goes on after a restart; the time begins anew then. A session with a disk, in a map or not, is never closed.
func (a *Attacher) logoutIdle(ctx context.Context) {
	every := max(a.cfg.Grace/4, 10*time.Millisecond)
	for sleep(ctx, every) == nil {
		sessions, err := a.sys.Sessions()
		if err != nil {
			klog.FromContext(ctx).Error(err, "Sessions without disks are not looked for")
			continue
		}
		for _, s := range a.expired(sessions) {
			a.logout(ctx, s)
		}
	}
}

// expired gives our sessions whose grace time is over, and notes since when the others have had no disk.
func (a *Attacher) expired(sessions []sysfs.Session) []sysfs.Session {
	since := map[int]time.Time{}
	var over []sysfs.Session
	now := time.Now()
	for _, s := range sessions {
		if _, ours := iscsi.InterfaceOf(s.Iface); !ours || !a.empty(s) {
			continue
		}
		a.mu.Lock()
		first, known := a.idle[s.ID]
		a.mu.Unlock()
		if !known {
			first = now
		}
		since[s.ID] = first
		if now.Sub(first) >= a.cfg.Grace {
			over = append(over, s)
		}
	}
	a.mu.Lock()
	a.idle = since
	a.mu.Unlock()
	return over
}

func (a *Attacher) empty(s sysfs.Session) bool {
	disks, err := a.sys.SessionDisks(s.ID)
	return err == nil && len(disks) == 0
}

// logout closes a session, unless an attach to its target is in flight or it has got a disk since it was looked at.
func (a *Attacher) logout(ctx context.Context, s sysfs.Session) {
	release, ok := a.targets.Alone(s.Target)
	if !ok {
		return
	}
	defer release()
	if !a.empty(s) {
		return
	}
	name, _ := iscsi.InterfaceOf(s.Iface)
	id := iscsi.NodeID{Target: s.Target, Portal: asked(s), Interface: name}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := a.cfg.ISCSI.Logout(ctx, s.ID, id); err != nil && a.life.Err() == nil {
		klog.FromContext(ctx).Error(err, "A session without disks could not be closed", "session", s.ID, "target", s.Target)
		return
	}
	if err := a.forgetRecords(ctx, id); err != nil {
		klog.FromContext(ctx).Error(err, "Records of a closed session are left", "session", s.ID, "target", s.Target)
	}
}

// forgetRecords removes the node record of a session that was closed; with the target's last session also those of portals that
// never answered.
func (a *Attacher) forgetRecords(ctx context.Context, closed iscsi.NodeID) error {
	last, err := a.lastOf(closed.Target)
	if err != nil {
		return err
	}
	return a.records.remove(ctx, func(n iscsi.NodeID) bool {
		return n == closed || (last && n.Target == closed.Target)
	}, closed.Interface)
}

// lastOf says whether none of our sessions to the target is left.
func (a *Attacher) lastOf(target string) (bool, error) {
	all, err := a.sys.Sessions()
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(all, func(s sysfs.Session) bool {
		_, ours := iscsi.InterfaceOf(s.Iface)
		return ours && s.Target == target
	}), nil
}
