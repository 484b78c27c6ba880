// Package linkwatch tells when a network device of this node, its carrier or its addresses change, so that sessions
// are looked at now and not half a minute later. Who reacts, and how, is wired above.
package linkwatch

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Watch calls changed once at the beginning and once after each change, or several that come together, until ctx
// ends; then it returns nil. All calls come from this goroutine. The network namespace is that of the caller. When the
// kernel drops messages (ENOBUFS) it subscribes anew and calls changed, since nobody knows what was missed.
func Watch(ctx context.Context, changed func()) error {
	for {
		if err := watch(ctx, changed); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// watch is one subscription.
func watch(ctx context.Context, changed func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	links := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{}); err != nil {
		return fmt.Errorf("subscribe to link changes: %w", err)
	}
	defer drain(links)
	addrs := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribeWithOptions(addrs, ctx.Done(), netlink.AddrSubscribeOptions{}); err != nil {
		return fmt.Errorf("subscribe to address changes: %w", err)
	}
	defer drain(addrs)
	for open := true; open && ctx.Err() == nil; open = next(ctx, links, addrs) {
		changed()
	}
	return nil
}

// drain lets the library's reader, which may wait to deliver one more change, see that its socket is closed.
func drain[T any](updates <-chan T) {
	go func() {
		for range updates {
			continue
		}
	}()
}

// next waits for a change, and takes with it all that have come by then. False: the subscription has ended.
func next(ctx context.Context, links <-chan netlink.LinkUpdate, addrs <-chan netlink.AddrUpdate) bool {
	open := true
	select {
	case <-ctx.Done():
	case _, open = <-links:
	case _, open = <-addrs:
	}
	for open {
		select {
		case _, open = <-links:
		case _, open = <-addrs:
		default:
			return true
		}
	}
	return false
}
