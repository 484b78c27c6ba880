package pathwatch

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/portbind/portbind/pkg/binding"
)

const (
	// settleTime is how long a volume may gather its paths after it was staged before what is missing counts as lost,
	// unless an interface is.
	settleTime = 10 * time.Second
	// calmTime is how long it must have been better before that is told. Paths that return often go once more: multipathd
	// may hold against them what it saw before.
	calmTime = 5 * time.Second
)

// tracker remembers what was told, so that each change is told once. It does no I/O.
type tracker struct {
	// where names the node in messages.
	where      string
	began      bool
	volumes    map[string]*track
	interfaces map[string]cause
	// drained are the interfaces that were out of use at the last look.
	drained []string
}

// track is what is known of one volume.
type track struct {
	volume Volume
	// since is when it was seen first. Until it is settled, nothing is lost that was never there.
	since   time.Time
	settled bool
	// now is its condition of the last look, told what was told last: its level and the paths it spoke of.
	now  condition
	told level
	lost []pair
	// better is since when it has been better than that.
	better time.Time
}

// shift is a change of one volume's redundancy over one interface.
type shift struct {
	iface    string
	restored bool
}

// news are what a look brought.
type news struct {
	events []Event
	shifts []shift
	// again is when the next look is due, if something waits for the time to pass.
	again time.Duration
}

func (n *news) lookAgain(in time.Duration) {
	if n.again == 0 || in < n.again {
		n.again = in
	}
}

func newTracker(where string) *tracker {
	return &tracker{where: where, volumes: map[string]*track{}, interfaces: map[string]cause{}}
}

// update takes a view in and gives what has changed since the one before. After the first one that is what is not whole.
func (t *tracker) update(v View, now time.Time) news {
	var n news
	t.updateDrained(v.Interfaces, now)
	n.events = t.updateInterfaces(v.Interfaces)
	for _, vol := range v.Volumes {
		if !vol.Unknown {
			t.updateVolume(vol, v.Interfaces, now, &n)
		}
	}
	maps.DeleteFunc(t.volumes, func(id string, _ *track) bool {
		return !slices.ContainsFunc(v.Volumes, func(vol Volume) bool { return vol.ID == id })
	})
	t.began = true
	return n
}

// updateDrained gives the volumes time to gather their paths again, when an interface is to be used again.
func (t *tracker) updateDrained(r binding.Resolution, now time.Time) {
	if slices.ContainsFunc(t.drained, func(name string) bool { return !r.IsDrained(name) }) {
		for _, k := range t.volumes {
			k.since, k.settled = now, false
		}
	}
	t.drained = r.Drained
}

func (t *tracker) updateVolume(v Volume, r binding.Resolution, now time.Time, n *news) {
	k := t.volumes[v.ID]
	if k == nil {
		k = &track{since: now, settled: !t.began}
		t.volumes[v.ID] = k
	}
	k.volume, k.now = v, assess(v, r)
	k.settled = k.settled || k.now.complete() || now.Sub(k.since) >= settleTime
	if !k.settled {
		n.lookAgain(settleTime - now.Sub(k.since))
		return
	}
	reason, shifts, wait := k.next(now)
	if wait > 0 {
		n.lookAgain(wait)
		return
	}
	n.shifts = append(n.shifts, shifts...)
	if reason != "" {
		n.events = append(n.events, Event{
			Volume: v.ID, Claim: v.Claim, Warning: reason != RedundancyRestored,
			Reason: reason, Message: describe(reason, k.now, t.where),
		})
	}
}

// next compares what is with what was told. Fewer lost paths than told are no news until there are none; more are, at once.
// What is better waits until it has been so for a while.
func (k *track) next(now time.Time) (reason string, shifts []shift, wait time.Duration) {
	var lost []pair
	for _, l := range k.now.lost {
		lost = append(lost, l.pair)
	}
	is, more := k.level(), !subset(lost, k.lost)
	switch better := is < k.told || len(lost) < len(k.lost); {
	case more || !better:
		k.better = time.Time{}
	case k.better.IsZero():
		k.better = now
		return "", nil, calmTime
	case now.Sub(k.better) < calmTime:
		return "", nil, calmTime - now.Sub(k.better)
	}
	reason = k.reason(is, more)
	shifts = compare(k.lost, lost)
	k.told, k.lost, k.better = is, lost, time.Time{}
	return reason, shifts, 0
}

func (k *track) level() level {
	if is := k.now.level(); is != none || !k.volume.Fails {
		return is
	}
	return failing
}

// reason names the change from what was told to what is.
func (k *track) reason(is level, more bool) string {
	switch {
	case is == k.told && (is != reduced || !more):
		return ""
	case is == whole:
		return RedundancyRestored
	case is == failing:
		return IOFails
	case is == none:
		return AllPathsLost
	case k.told == none, k.told == failing:
		return SomePathsBack
	default:
		return RedundancyLost
	}
}

func subset(of, all []pair) bool {
	return !slices.ContainsFunc(of, func(p pair) bool { return !slices.Contains(all, p) })
}

// compare gives the interfaces over which paths are lost that had lost none, and the other way round.
func compare(before, now []pair) []shift {
	var all []shift
	for _, name := range interfacesOf(now) {
		if !slices.Contains(interfacesOf(before), name) {
			all = append(all, shift{iface: name})
		}
	}
	for _, name := range interfacesOf(before) {
		if !slices.Contains(interfacesOf(now), name) {
			all = append(all, shift{iface: name, restored: true})
		}
	}
	return all
}

func interfacesOf(pairs []pair) []string {
	var names []string
	for _, p := range pairs {
		if !slices.Contains(names, p.iface) {
			names = append(names, p.iface)
		}
	}
	return names
}

// updateInterfaces compares the node's interfaces with what was told of them. One that was well at first is no news, nor is
// one that had no NIC: not every node has all of them. Of one that is drained there are none until it is used again.
func (t *tracker) updateInterfaces(r binding.Resolution) []Event {
	var events []Event
	now := map[string]cause{}
	for _, name := range r.Drained {
		now[name] = t.interfaces[name]
	}
	r = undrained(r)
	for _, i := range r.Interfaces {
		is := wrongWith(i)
		now[i.Name] = is
		if is != t.interfaces[i.Name] {
			events = append(events, interfaceEvent(interfaceName(i.Name, i.NIC), is))
		}
	}
	for _, p := range r.Problems {
		now[p.Interface] = causeNoNIC
		if t.began && t.interfaces[p.Interface] != causeNoNIC {
			events = append(events, Event{Warning: true, Reason: InterfaceDown, Message: Clip("Storage " + p.Err.Error())})
		}
	}
	t.interfaces = now
	return events
}

func interfaceEvent(name string, is cause) Event {
	if is == "" {
		return Event{Reason: InterfaceUp, Message: fmt.Sprintf("Storage interface %s is well again", name)}
	}
	return Event{Warning: true, Reason: InterfaceDown, Message: fmt.Sprintf("Storage interface %s %s", name, is)}
}
