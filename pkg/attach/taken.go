package attach

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/scsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// takenEvery is how often volumes without a working path are asked about, takenTime how long every answer must be a refusal
	// until it is believed: a target host that has just booted may not have everything yet.
	takenEvery = 5 * time.Second
	takenTime  = 30 * time.Second
	// askPatience is how long a portal or a disk has for its answer.
	askPatience = 3 * time.Second
)

// verdict is what a path says of a volume that no path of reaches.
type verdict int

const (
	silent verdict = iota // no answer, or none that says anything of the volume
	unable                // its NIC has no link: it cannot be asked
	denied                // the target answers, and has nothing for us
)

// takings is what is known of volumes that were taken away, from one look to the next; by dm uuid.
type takings struct {
	// denied says since when.
	denied map[string]time.Time
	// restored were asked to have their I/O wait again.
	restored map[string]bool
}

// watchTaken tells a volume that was taken away from this node from one that is silent. Both have no path that works, and I/O
// waits. But a target that answers and refuses will not come back with it: the volume is another node's by now (out-of-service
// taint, unpublish). Its I/O fails then, so that the processes that wait end, and it can be unmounted and unstaged.
func (a *Attacher) watchTaken(ctx context.Context) {
	t := &takings{}
	for sleep(ctx, takenEvery) == nil {
		if err := a.lookForTaken(ctx, t); err != nil {
			klog.FromContext(ctx).Error(err, "Volumes that were taken away are not looked for")
		}
	}
}

func (a *Attacher) lookForTaken(ctx context.Context, t *takings) error {
	hosts, err := a.ourHosts()
	if err != nil {
		return err
	}
	var maps []sysfs.Map // without sessions none is of interest
	if len(hosts) > 0 {
		if maps, err = a.sys.Maps(); err != nil {
			return err
		}
	}
	ask := newAsker(a, hosts)
	before := t.begin(maps)
	for _, m := range maps {
		if !strings.HasPrefix(m.UUID, multipath.UUID("")) || len(m.Slaves) == 0 {
			continue
		}
		works, queues := a.flow(m)
		switch {
		case works && !queues && ask.ours(m):
			a.waitAgain(ctx, t, m)
		case !works && queues && ask.denied(ctx, m):
			a.deny(ctx, t, m, before[m.UUID])
		}
	}
	return nil
}

// begin is the beginning of a look at these maps: it forgets what was done with those that are gone, since one of the same uuid
// that comes later is another stage's. It returns which were denied.
func (t *takings) begin(maps []sysfs.Map) (denied map[string]time.Time) {
	denied, restored := t.denied, t.restored
	t.denied, t.restored = map[string]time.Time{}, map[string]bool{}
	for _, m := range maps {
		if restored[m.UUID] {
			t.restored[m.UUID] = true
		}
	}
	return denied
}

// flow says whether a path of the map works, and whether I/O waits when none does.
func (a *Attacher) flow(m sysfs.Map) (works, queues bool) {
	table, err := a.dm.Table(m.UUID)
	if err != nil {
		return true, true // it is being changed or removed; the next look will see
	}
	states, err := a.dm.PathStates(m.UUID)
	if err != nil {
		return true, true
	}
	return slices.ContainsFunc(states, func(s multipath.PathState) bool { return s.Active }), table.Queue
}

// deny notes that a volume is denied, and gives it up when it has been so for long enough.
func (a *Attacher) deny(ctx context.Context, t *takings, m sysfs.Map, since time.Time) {
	if since.IsZero() {
		since = time.Now()
		klog.FromContext(ctx).Info("The target refuses a volume that has no path left", "map", m.Name, "waiting", takenTime.String())
	}
	t.denied[m.UUID] = since
	if time.Since(since) >= takenTime {
		a.giveUp(ctx, t, m)
	}
}

func (a *Attacher) giveUp(ctx context.Context, t *takings, m sysfs.Map) {
	delete(t.restored, m.UUID)
	logger := klog.FromContext(ctx).WithValues("map", m.Name)
	info, err := a.dm.Find(m.UUID)
	if err == nil {
		err = a.failIO(ctx, info)
	}
	if err != nil {
		logger.Error(err, "The volume was taken away from this node, but its waiting I/O could not be ended")
		return
	}
	logger.Info("The target has taken the volume away from this node: I/O that waited for it fails now")
}

// waitAgain undoes giveUp for a volume that was given back. Each map is asked for once: on another array I/O may be meant to fail.
func (a *Attacher) waitAgain(ctx context.Context, t *takings, m sysfs.Map) {
	if !a.cfg.Policy.Queues() || t.restored[m.UUID] {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := a.mpd.RestoreQueueing(ctx, m.Name); err != nil {
		klog.FromContext(ctx).Error(err, "I/O of a volume that is back does not wait for lost paths", "map", m.Name)
		return
	}
	t.restored[m.UUID] = true
}

// asker asks each session once in a look, however many volumes it carries.
type asker struct {
	a     *Attacher
	hosts map[int]sysfs.Session

	mu     sync.Mutex
	logins map[int]func() verdict // by session
}

func newAsker(a *Attacher, hosts map[int]sysfs.Session) *asker {
	return &asker{a: a, hosts: hosts, logins: map[int]func() verdict{}}
}

// ours says that all paths of the map are over our sessions: maps of others are never changed.
func (k *asker) ours(m sysfs.Map) bool {
	return !slices.ContainsFunc(m.Slaves, func(name string) bool {
		d, err := k.a.sys.Disk(name)
		_, ours := k.hosts[d.HCTL.Host]
		return err != nil || !ours
	})
}

// denied says whether all paths of the map that can be asked are refused by the target. A path of another's session, or one
// that is silent, leaves it open: that is what queueing is for.
func (k *asker) denied(ctx context.Context, m sysfs.Map) bool {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	answers := make(chan verdict, len(m.Slaves))
	for _, name := range m.Slaves {
		go func() { answers <- k.path(ctx, name) }()
	}
	var refused, open int
	for range m.Slaves {
		switch <-answers {
		case denied:
			refused++
		case silent:
			open++
		case unable:
		}
	}
	return refused > 0 && open == 0
}

// path asks what can be asked of a path: the portal whether it lets us in, or when it did, the disk whether it is there.
func (k *asker) path(ctx context.Context, name string) verdict {
	d, err := k.a.sys.Disk(name)
	if err != nil {
		return silent
	}
	s, ours := k.hosts[d.HCTL.Host]
	if !ours {
		return silent
	}
	if k.a.noLink(s.NIC) {
		return unable
	}
	if !s.LoggedIn() {
		return k.login(ctx, s)
	}
	if d.State != sysfs.DiskRunning {
		return silent
	}
	err = scsi.TestUnitReady(ctx, scsi.Device{Path: k.a.cfg.Dev + "/" + name, Major: d.Major, Minor: d.Minor})
	if errors.Is(err, scsi.ErrGone) {
		return denied
	}
	return silent
}

// noLink says that a NIC is known to have no link.
func (a *Attacher) noLink(nic string) bool {
	n, err := a.sys.NIC(nic)
	return err == nil && !n.Carrier
}

func (k *asker) login(ctx context.Context, s sysfs.Session) verdict {
	k.mu.Lock()
	ask := k.logins[s.ID]
	if ask == nil {
		ask = sync.OnceValue(func() verdict {
			err := iscsi.AskLogin(ctx, iscsi.Asking{NIC: s.NIC, Portal: asked(s), Initiator: s.Initiator, Target: s.Target})
			if errors.Is(err, iscsi.ErrDenied) {
				return denied
			}
			return silent
		})
		k.logins[s.ID] = ask
	}
	k.mu.Unlock()
	return ask()
}
