package linkwatch

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestWatch changes a device in a network namespace of its own.
func TestWatch(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	ns, err := netns.New()
	if err != nil {
		t.Skipf("needs the right to make a network namespace: %v", err)
	}
	defer ns.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	calls := 0
	// The first call is at the beginning. Each change but the last is made by the call before it.
	err = Watch(ctx, func() {
		calls++
		switch calls {
		case 1:
			lo, err := netlink.LinkByName("lo")
			if err == nil {
				err = netlink.LinkSetUp(lo)
			}
			if err != nil {
				t.Error(err)
			}
		case 2:
			cancel()
		}
	})
	if err != nil || calls != 2 {
		t.Errorf("%d calls, %v", calls, err)
	}
}
