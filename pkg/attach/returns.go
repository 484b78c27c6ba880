package attach

import (
	"context"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// returnEvery is how often our sessions are looked at. The kernel announces nowhere that a session's commands flow again
	// (iscsi_unblock_session), and multipathd checks a failed path only every polling_interval, by default 5 s.
	returnEvery = time.Second
	// doubtTime is how long after a session's return multipathd may fail its paths for no reason: its first check of a path
	// gives the answer of the last one before the outage, if that had not been fetched (libmultipath/checkers/tur.c,
	// libcheck_check), and its second comes a polling_interval later.
	doubtTime = 15 * time.Second
	// doubtTries bounds how often a path is reinstated meanwhile that may have failed for a reason.
	doubtTries = 3
)

// comeback is a session that was lost and is back.
type comeback struct {
	at    time.Time
	tries int
}

// returns is what is known of sessions from one look to the next.
type returns struct {
	lost map[int]bool
	back map[int]*comeback
}

// watchReturns has paths used again as soon as their sessions are back. Without it multipathd's checker does the same,
// later.
func (a *Attacher) watchReturns(ctx context.Context) {
	r := &returns{lost: map[int]bool{}, back: map[int]*comeback{}}
	for sleep(ctx, returnEvery) == nil {
		sessions, err := a.sys.Sessions()
		if err != nil {
			continue // logoutIdle says so
		}
		a.takeBack(ctx, r, sessions)
	}
}

// takeBack reinstates the paths of the sessions that were lost before and are not any more.
func (a *Attacher) takeBack(ctx context.Context, r *returns, sessions []sysfs.Session) {
	now, before := time.Now(), r.lost
	r.lost = map[int]bool{}
	for id, c := range r.back {
		if now.Sub(c.at) > doubtTime || c.tries > doubtTries {
			delete(r.back, id)
		}
	}
	for _, s := range sessions {
		if _, ours := iscsi.InterfaceOf(s.Iface); !ours {
			continue
		}
		a.keepUrgent(ctx, s)
		switch c := r.back[s.ID]; {
		case !s.LoggedIn():
			r.lost[s.ID] = true
			delete(r.back, s.ID)
		case before[s.ID] && a.reinstate(ctx, s):
			r.back[s.ID] = &comeback{at: now}
		case before[s.ID]:
			r.lost[s.ID] = true // not all the way back
		case c != nil && !a.noLink(s.NIC) && a.reinstateFailed(ctx, s): // else it is failed for a reason (pkg/failfast)
			c.tries++
		}
	}
}

// reinstate gives the session's disks back to their maps; false while one of them does not take commands yet.
func (a *Attacher) reinstate(ctx context.Context, s sysfs.Session) bool {
	disks, err := a.sys.SessionDisks(s.ID)
	if err != nil {
		return false
	}
	for _, d := range disks {
		if d.State != sysfs.DiskRunning {
			return false
		}
	}
	for _, d := range disks {
		a.reinstatePath(ctx, d)
	}
	klog.FromContext(ctx).Info("A session is back", "session", s.ID, "interface", s.Iface, "portal", s.Portal.String(), "paths", len(disks))
	if a.cfg.Returned != nil {
		a.cfg.Returned()
	}
	return true
}

func (a *Attacher) reinstatePath(ctx context.Context, d sysfs.Disk) {
	if err := a.mpd.ReinstatePath(ctx, d.Name); err != nil {
		klog.FromContext(ctx).V(2).Info("A path is left to multipathd's checker", "disk", d.Name, "reason", err.Error())
	}
}

// reinstateFailed does so for those of the session's disks that their maps avoid, and says whether there were any.
func (a *Attacher) reinstateFailed(ctx context.Context, s sysfs.Session) (found bool) {
	disks, err := a.sys.SessionDisks(s.ID)
	if err != nil {
		return false
	}
	for _, d := range disks {
		if d.State == sysfs.DiskRunning && a.failed(d) {
			klog.FromContext(ctx).Info("A path failed right after its session's return", "disk", d.Name, "session", s.ID)
			a.reinstatePath(ctx, d)
			found = true
		}
	}
	return found
}

// failed says that the map above the disk avoids it.
func (a *Attacher) failed(d sysfs.Disk) bool {
	m, ok := a.mapAbove([]sysfs.Disk{d})
	if !ok {
		return false
	}
	states, err := a.dm.PathStates(m.UUID)
	return err == nil && slices.ContainsFunc(states, func(s multipath.PathState) bool { return s.Devno == devno(d) && !s.Active })
}
