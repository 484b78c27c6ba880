package attach

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
)

// answerTime is how long a portal may take to accept a connection from a NIC that is to carry the I/O of others.
const answerTime = 2 * time.Second

// silent asks the portals of the sessions that stay, each over its own NIC, and gives the sessions whose portal does not answer. Where
// packets vanish a session looks well until its timers have run out; I/O that was moved to it meanwhile would be without a path.
func (a *Attacher) silent(ctx context.Context, x *exodus) map[int]bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		silent = map[int]bool{}
	)
	for _, s := range x.hosts {
		if retired(s, x.res) || !s.LoggedIn() {
			continue
		}
		all.Go(func() {
			err := iscsi.Probe(ctx, s.NIC, s.Portal)
			if err == nil {
				return
			}
			klog.FromContext(ctx).Info("A session is not relied upon: its portal does not answer",
				"session", s.ID, "nic", s.NIC, "portal", s.Portal.String(), "reason", err.Error())
			mu.Lock()
			defer mu.Unlock()
			silent[s.ID] = true
		})
	}
	all.Wait()
	return silent
}
