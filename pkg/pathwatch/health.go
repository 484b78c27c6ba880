package pathwatch

import (
	"fmt"
	"slices"

	"github.com/portbind/portbind/pkg/binding"
)

// Health is what is wrong at this moment.
type Health struct {
	// Reason is one of the reasons of events; Message a sentence.
	Reason, Message string
	// Inaccessible says that nothing works; else something does, but less than should.
	Inaccessible bool
}

// VolumeHealth judges a volume as it is now, whatever was told of it before; false when nothing is wrong, or nothing is known.
// where names the node in the message.
func VolumeHealth(v Volume, r binding.Resolution, where string) (Health, bool) {
	if v.Unknown {
		return Health{}, false
	}
	k := track{volume: v, now: assess(v, r)}
	is := k.level()
	reason := k.reason(is, true)
	if is == whole || reason == "" {
		return Health{}, false
	}
	return Health{Reason: reason, Message: describe(reason, k.now, where), Inaccessible: is != reduced}, true
}

// InterfaceHealth judges the node's interfaces together, without those that are drained; false when all are well.
func InterfaceHealth(r binding.Resolution) (Health, bool) {
	r = undrained(r)
	lost := make([]loss, 0, len(r.Interfaces)+len(r.Problems))
	for _, i := range r.Interfaces {
		if is := wrongWith(i); is != "" {
			lost = append(lost, loss{pair: pair{iface: i.Name}, nic: i.NIC, why: is})
		}
	}
	for _, p := range r.Problems {
		lost = append(lost, loss{pair: pair{iface: p.Interface}, why: causeNoNIC})
	}
	if len(lost) == 0 {
		return Health{}, false
	}
	all := len(r.Interfaces) + len(r.Problems)
	return Health{
		Reason: InterfaceDown, Inaccessible: len(lost) == all,
		Message: Clip(fmt.Sprintf("%d of %d storage interfaces work: %s", all-len(lost), all, losses(lost))),
	}, true
}

// SessionHealth judges the sessions that the volumes need together, over interfaces that are well; false when all are there. A portal
// that is gone shows here once, whatever the number of volumes.
func SessionHealth(v View) (Health, bool) {
	var expected []pair
	var lost []loss
	for _, vol := range v.Volumes {
		if vol.Unknown {
			continue
		}
		for _, e := range expect(vol, v.Interfaces) {
			if state, _ := look(e.iface, v.Interfaces); state == "" && !slices.Contains(expected, e) {
				expected = append(expected, e)
			}
		}
		for _, l := range assess(vol, v.Interfaces).lost {
			if l.why == causeSession || l.why == causeNoSession {
				lost = addLoss(lost, l)
			}
		}
	}
	if len(lost) == 0 {
		return Health{}, false
	}
	return Health{
		Reason: SessionsLost, Inaccessible: len(lost) == len(expected),
		Message: Clip(fmt.Sprintf("%d of %d sessions work: %s", len(expected)-len(lost), len(expected), losses(lost))),
	}, true
}

// addLoss has each pair once. A volume that came when its session was down has no disk that speaks of it: one that had says more.
func addLoss(lost []loss, l loss) []loss {
	at := slices.IndexFunc(lost, func(have loss) bool { return have.pair == l.pair })
	switch {
	case at < 0:
		return append(lost, l)
	case l.why == causeSession:
		lost[at] = l
	}
	return lost
}

// undrained leaves out the interfaces that are drained.
func undrained(r binding.Resolution) binding.Resolution {
	r.Interfaces = slices.DeleteFunc(slices.Clone(r.Interfaces), func(i binding.Interface) bool { return r.IsDrained(i.Name) })
	r.Problems = slices.DeleteFunc(slices.Clone(r.Problems), func(p binding.Problem) bool { return r.IsDrained(p.Interface) })
	return r
}
