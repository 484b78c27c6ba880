package failfast

import (
	"slices"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// view is what there is of sessions, and of the maps over the lost ones.
type view struct {
	sessions map[int]sysfs.Session
	maps     []mapView
}

// mapView is a dm-multipath map.
type mapView struct {
	uuid  string
	paths []pathView
}

type pathView struct {
	devno  multipath.Devno
	active bool
	// session is the path's, if it is an iSCSI one.
	session int
	iscsi   bool
}

// hostage is a session of ours that is logged in over a lost NIC, as far as the kernel knows.
type hostage struct {
	sysfs.Session
	nic nic
	// fails are its paths in maps that have another one.
	fails []failure
	// stuck are the maps that have none.
	stuck []string
	// ways are sessions over which the target can be told that this one is over, the best first.
	ways []sysfs.Session
}

type failure struct {
	uuid  string
	devno multipath.Devno
}

// hostages are the sessions to act upon. Those without a path in a map are none: nothing waits for them.
func hostages(v view, n nics, lost map[string]nic) []hostage {
	var all []hostage
	for _, s := range v.sessions {
		if on, ok := lost[s.NIC]; ok && ours(s) && s.LoggedIn() {
			h := hostage{Session: s, nic: on}
			h.weigh(v, n, lost)
			h.ways = v.ways(s, n, lost)
			if len(h.fails)+len(h.stuck) > 0 {
				all = append(all, h)
			}
		}
	}
	slices.SortFunc(all, func(a, b hostage) int { return a.ID - b.ID })
	return all
}

func ours(s sysfs.Session) bool {
	_, ok := iscsi.InterfaceOf(s.Iface)
	return ok
}

// weigh looks for what other paths the maps have.
func (h *hostage) weigh(v view, n nics, lost map[string]nic) {
	for _, m := range v.maps {
		at := slices.IndexFunc(m.paths, func(p pathView) bool { return p.iscsi && p.session == h.ID })
		if at < 0 {
			continue
		}
		if !slices.ContainsFunc(m.paths, func(p pathView) bool { return v.alive(p, n, lost) }) {
			h.stuck = append(h.stuck, m.uuid)
			continue
		}
		h.fails = append(h.fails, failure{m.uuid, m.paths[at].devno})
	}
}

// alive says that a path can take I/O, for all that is known.
func (v view) alive(p pathView, n nics, lost map[string]nic) bool {
	if !p.active || !p.iscsi {
		return p.active
	}
	s, ok := v.sessions[p.session]
	return ok && works(s, n, lost)
}

// works says that a session can take I/O, for all that is known.
func works(s sysfs.Session, n nics, lost map[string]nic) bool {
	_, isLost := lost[s.NIC]
	return s.LoggedIn() && n.up(s.NIC) && !isLost
}

// ways gives those of our sessions with a target that lead into the same portal group, which is what a session belongs to
// (RFC 7143, section 4.4.3), those to the same portal first.
func (v view) ways(lostSession sysfs.Session, n nics, lost map[string]nic) (all []sysfs.Session) {
	for _, s := range v.sessions {
		if ours(s) && s.Target == lostSession.Target && s.TPGT == lostSession.TPGT && s.Portal.IsValid() && works(s, n, lost) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b sysfs.Session) int {
		if same := a.Portal == lostSession.Portal; same != (b.Portal == lostSession.Portal) {
			if same {
				return -1
			}
			return 1
		}
		return a.ID - b.ID
	})
	return all
}
