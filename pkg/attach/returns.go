package attach

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// returnEvery is how often our sessions are looked at. The kernel announces nowhere that a session's commands flow again
// (iscsi_unblock_session), and multipathd checks a failed path only every polling_interval, by default 5 s.
const returnEvery = time.Second

// watchReturns has paths used again as soon as their sessions are back. Without it multipathd's checker does the same,
// later.
func (a *Attacher) watchReturns(ctx context.Context) {
	var lost map[int]bool
	for sleep(ctx, returnEvery) == nil {
		sessions, err := a.sys.Sessions()
		if err != nil {
			continue // logoutIdle says so
		}
		lost = a.takeBack(ctx, lost, sessions)
	}
}

// takeBack reinstates the paths of the sessions that were lost before and are not any more; it gives those lost now.
func (a *Attacher) takeBack(ctx context.Context, before map[int]bool, sessions []sysfs.Session) (lost map[int]bool) {
	lost = map[int]bool{}
	for _, s := range sessions {
		_, ours := iscsi.InterfaceOf(s.Iface)
		if ours && (!s.LoggedIn() || (before[s.ID] && !a.reinstate(ctx, s))) {
			lost[s.ID] = true
		}
	}
	return lost
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
		if err := a.mpd.ReinstatePath(ctx, d.Name); err != nil {
			klog.FromContext(ctx).V(2).Info("A path is left to multipathd's checker", "disk", d.Name, "reason", err.Error())
		}
	}
	klog.FromContext(ctx).Info("A session is back", "session", s.ID, "interface", s.Iface, "portal", s.Portal.String(), "paths", len(disks))
	return true
}
