package linkwatch

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network device as the kernel last told of it.
type Link struct {
	// Index is the device's for as long as it exists; names are given again.
	Index int
	Name  string
	// Up says that the device is administratively up and has a carrier.
	Up bool
	// Gone says that the device exists no longer, or not in this network namespace.
	Gone bool
}

// Links calls tell with every network device there is, and from then on with each that appears, vanishes, is renamed or
// whose carrier changes, until ctx ends; then it returns nil. All calls come from this goroutine. What was missed while
// the kernel dropped messages is made up for.
func Links(ctx context.Context, tell func(Link)) error {
	w := links{known: map[int]Link{}, tell: tell}
	for {
		if err := w.watch(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// links remembers what was told.
type links struct {
	known map[int]Link
	tell  func(Link)
}

// watch is one subscription.
func (w *links) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{}); err != nil {
		return fmt.Errorf("subscribe to links: %w", err)
	}
	defer drain(updates)
	// After the subscription, so that nothing falls between the two. What is told twice makes no difference.
	if err := w.list(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u, open := <-updates:
			if !open {
				return nil
			}
			w.hear(u)
		}
	}
}

// list compares what there is with what is known.
func (w *links) list() error {
	all, err := netlink.LinkList()
	for range 4 {
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		all, err = netlink.LinkList()
	}
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	there := map[int]bool{}
	for _, l := range all {
		there[l.Attrs().Index] = true
		w.now(link(l.Attrs()))
	}
	for index, l := range w.known {
		if !there[index] {
			w.gone(l)
		}
	}
	return nil
}

// hear takes one message. Bridges tell of their ports by messages of the same kind and another family: a port that leaves a
// bridge is not gone.
func (w *links) hear(u netlink.LinkUpdate) {
	if u.Family != unix.AF_UNSPEC || u.Link == nil {
		return
	}
	l := link(u.Attrs())
	if u.Header.Type == unix.RTM_DELLINK {
		w.gone(l)
		return
	}
	w.now(l)
}

func (w *links) now(l Link) {
	if known, ok := w.known[l.Index]; ok && known == l {
		return
	}
	w.known[l.Index] = l
	w.tell(l)
}

func (w *links) gone(l Link) {
	if _, ok := w.known[l.Index]; !ok {
		return
	}
	delete(w.known, l.Index)
	l.Up, l.Gone = false, true
	w.tell(l)
}

func link(a *netlink.LinkAttrs) Link {
	return Link{Index: a.Index, Name: a.Name, Up: a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0}
}
