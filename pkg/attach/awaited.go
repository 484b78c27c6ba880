package attach

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
)

// watchSilent has volumes healed as soon as a portal answers that was silent when they were: nothing else tells of it, and healing by
// itself comes ever more rarely.
func (a *Attacher) watchSilent(ctx context.Context) {
	for sleep(ctx, returnEvery) == nil {
		if a.answered(ctx) && a.cfg.Returned != nil {
			a.cfg.Returned()
		}
	}
}

// await notes that a portal is silent to which a session over the NIC is lacking.
func (a *Attacher) await(id iscsi.NodeID, nic string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.awaited[id] = nic
}

// forgetAwaited begins anew: what is lacking still is noted when it is found so again.
func (a *Attacher) forgetAwaited() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.awaited)
}

// answered asks the silent portals, all at once, each over the NIC of the session that is lacking, and says whether one of them
// answers. Those are not asked again.
func (a *Attacher) answered(ctx context.Context) bool {
	a.mu.Lock()
	awaited := maps.Clone(a.awaited)
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var (
		all  sync.WaitGroup
		some atomic.Bool
	)
	for id, nic := range awaited {
		all.Go(func() {
			if a.noLink(nic) || iscsi.Probe(ctx, nic, id.Portal) != nil {
				return
			}
			klog.FromContext(ctx).Info("A portal answers again", "interface", id.Interface, "nic", nic, "portal", id.Portal.String())
			a.hear(id)
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.awaited, id)
			some.Store(true)
		})
	}
	all.Wait()
	return some.Load()
}
