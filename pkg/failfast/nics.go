package failfast

import (
	"time"

	"github.com/portbind/portbind/pkg/linkwatch"
)

// nics are the network devices by index. A device that has vanished stays for goneTime: its sessions are bound to it still.
type nics map[int]nic

type nic struct {
	linkwatch.Link
	// since is when the link was lost, zero while it is there.
	since time.Time
}

func (n nics) hear(l linkwatch.Link, now time.Time) {
	is := nic{Link: l}
	if !l.Up {
		is.since = now
		if was, ok := n[l.Index]; ok && !was.since.IsZero() {
			is.since = was.since
		}
	}
	n[l.Index] = is
}

// up says whether there is a device of that name with a link.
func (n nics) up(name string) bool {
	for _, is := range n {
		if is.Name == name && is.Up {
			return true
		}
	}
	return false
}

// lost gives, by name, the devices that have had no link for long enough to act upon it, and when there may be more. A device
// that was replaced by another of its name is none: sessions may be on the new one already.
func (n nics) lost(now time.Time) (lost map[string]nic, wait time.Duration) {
	lost = map[string]nic{}
	for index, is := range n {
		gone := now.Sub(is.since)
		switch {
		case is.since.IsZero():
		case is.Gone && (gone >= goneTime || n.up(is.Name)):
			delete(n, index)
		case gone >= hold:
			lost[is.Name] = is
		case wait == 0 || hold-gone < wait:
			wait = hold - gone
		}
	}
	return lost, wait
}
