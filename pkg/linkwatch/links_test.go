package linkwatch

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestLinks cuts, takes out of a bridge, and removes one end of a cable in a network namespace of its own.
func TestLinks(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	ns, err := netns.New()
	if err != nil {
		t.Skipf("needs the right to make a network namespace: %v", err)
	}
	defer ns.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	near := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"}
	must(t, netlink.LinkAdd(near))
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}}))
	far, err := netlink.LinkByName("far")
	must(t, err)
	bridge, err := netlink.LinkByName("br")
	must(t, err)
	var got []Link
	// Each step is made when the one before it was heard of.
	steps := []func(){
		func() { must(t, netlink.LinkSetUp(near)); must(t, netlink.LinkSetUp(far)) },
		func() { must(t, netlink.LinkSetDown(far)) },
		func() {
			must(t, netlink.LinkSetMaster(near, bridge))
			must(t, netlink.LinkSetNoMaster(near))
			must(t, netlink.LinkDel(near))
		},
		cancel,
	}
	err = Links(ctx, func(l Link) {
		if l.Name != "near" {
			return
		}
		got = append(got, Link{Name: l.Name, Up: l.Up, Gone: l.Gone})
		if len(steps) > 0 {
			steps[0]()
			steps = steps[1:]
		}
	})
	must(t, err)
	want := []Link{{Name: "near"}, {Name: "near", Up: true}, {Name: "near"}, {Name: "near", Gone: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLinksAfterLoss is about a device that vanished while nobody listened.
func TestLinksAfterLoss(t *testing.T) {
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		t.Skipf("needs the right to make a network namespace: %v", err)
	}
	defer ns.Close()
	var got []Link
	w := links{known: map[int]Link{99: {Index: 99, Name: "san0", Up: true}}, tell: func(l Link) { got = append(got, l) }}
	must(t, w.list())
	want := []Link{{Index: 1, Name: "lo"}, {Index: 99, Name: "san0", Gone: true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
