package driver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestHealLoop: what lacks paths is looked at again soon, then less and less often; what does not, every 30 s.
func TestHealLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.lack(1)
		r.stageIt(t, stageRequest())
		<-r.incomplete // as if the loop had run at the time
		ctx, cancel := context.WithCancel(t.Context())
		events := make(chan struct{})
		go r.HealLoop(ctx, events)
		defer func() { cancel(); synctest.Wait() }()
		// rounds wants this many from now on, each at its time, and none besides.
		rounds := func(what string, after ...time.Duration) {
			t.Helper()
			before := r.count("heal")
			for i, wait := range after {
				time.Sleep(wait - time.Millisecond) //nolint:forbidigo // in the bubble's time
				synctest.Wait()
				if n := r.count("heal") - before; n != i {
					t.Errorf("%s: %d rounds shortly before the one that is due after %v", what, n, after[:i+1])
				}
				time.Sleep(time.Millisecond) //nolint:forbidigo // in the bubble's time
				synctest.Wait()
				if n := r.count("heal") - before; n != i+1 {
					t.Errorf("%s: %d rounds after %v", what, n, after[:i+1])
				}
			}
		}
		const s = time.Second
		synctest.Wait()
		rounds("a path is lacking", s, 2*s, 4*s, 8*s, 16*s, 30*s, 30*s)
		r.lack(0)
		rounds("it is there", 30*s, 30*s)
		r.lack(1)
		r.poke()
		rounds("a volume was attached without a path", s, s, 2*s, 4*s, 8*s, 16*s, 30*s)
		events <- struct{}{}
		synctest.Wait()
		rounds("a NIC changed", s, 2*s, 4*s)
	})
}
