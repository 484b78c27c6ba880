package pathwatch

import (
	"net/netip"
	"slices"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/sysfs"
)

// pair is a path that should exist.
type pair struct {
	iface  string
	portal netip.AddrPort
}

// cause says why a path does not work, as far as that can be seen from here.
type cause string

const (
	causeUnnamed   cause = "is not configured on this node"
	causeNoNIC     cause = "has no NIC"
	causeNoLink    cause = "has no link"
	causeNoAddress cause = "has no address"
	// The others are of one session, and have portals behind them.
	causeNoSession cause = "no session to"
	causeSession   cause = "session down to"
	causeNotInMap  cause = "disk not in the map, to"
	causePath      cause = "path failed to"
)

// ofInterface says that the whole interface is without a path.
func (c cause) ofInterface() bool {
	return c == causeUnnamed || c == causeNoNIC || c == causeNoLink || c == causeNoAddress
}

// loss is a path that should work and does not.
type loss struct {
	pair
	nic string
	why cause
}

// condition is how a volume is off.
type condition struct {
	// expected is how many paths there should be, working how many of them work.
	expected, working int
	// alive says that some path works, be it one that nobody expects: I/O flows.
	alive bool
	// lost are those that are expected and do not work, by interface and portal.
	lost []loss
}

// level orders conditions.
type level int

const (
	whole level = iota
	reduced
	none
	// failing is none, and I/O does not wait for one.
	failing
)

func (c condition) level() level {
	switch {
	case len(c.lost) == 0:
		return whole
	case c.alive:
		return reduced
	default:
		return none
	}
}

// complete says that no path is on its way: what is lost is lost with its interface.
func (c condition) complete() bool {
	return !slices.ContainsFunc(c.lost, func(l loss) bool { return !l.why.ofInterface() })
}

// assess holds the paths that a volume has against those that it should have.
func assess(v Volume, r binding.Resolution) condition {
	expected := expect(v, r)
	c := condition{expected: len(expected)}
	for _, p := range v.Paths {
		c.alive = c.alive || works(p, r)
	}
	for _, e := range expected {
		paths := pathsOf(v, e)
		if slices.ContainsFunc(paths, func(p attach.Path) bool { return works(p, r) }) {
			c.working++
			continue
		}
		state, nic := look(e.iface, r)
		c.lost = append(c.lost, loss{pair: e, nic: nic, why: why(state, paths)})
	}
	return c
}

// works says that I/O can take a path. The map learns only after seconds that a NIC's cable is gone.
func works(p attach.Path, r binding.Resolution) bool {
	state, _ := look(p.Interface, r)
	return p.State == attach.StateActive && state != causeNoLink && state != causeNoNIC
}

func pathsOf(v Volume, e pair) []attach.Path {
	var found []attach.Path
	for _, p := range v.Paths {
		if p.Interface == e.iface && p.Asked == e.portal {
			found = append(found, p)
		}
	}
	return found
}

// why says what is wrong with a path of which these disks are there.
func why(state cause, paths []attach.Path) cause {
	switch {
	case state != "":
		return state
	case len(paths) == 0:
		return causeNoSession
	case paths[0].SessionState != sysfs.SessionLoggedIn:
		return causeSession
	case paths[0].State == attach.StateMissing:
		return causeNotInMap
	default:
		return causePath
	}
}

// look says what is wrong with an interface, nothing if it is well, and which NIC it has.
func look(name string, r binding.Resolution) (wrong cause, nic string) {
	for _, i := range r.Interfaces {
		if i.Name == name {
			return wrongWith(i), i.NIC
		}
	}
	for _, p := range r.Problems {
		if p.Interface == name {
			return causeNoNIC, ""
		}
	}
	return causeUnnamed, ""
}

func wrongWith(i binding.Interface) cause {
	switch {
	case !i.Up:
		return causeNoLink
	case len(i.Addrs) == 0:
		return causeNoAddress
	default:
		return ""
	}
}

// expect gives the paths that a volume should have, also over interfaces that cannot have any at the moment. Over those that are
// drained it should have none.
func expect(v Volume, r binding.Resolution) []pair {
	var all []pair
	var absent []string
	for _, name := range names(v, r) {
		if r.IsDrained(name) {
			continue
		}
		met, there := meets(name, v, r)
		if !there {
			absent = append(absent, name)
		}
		all = append(all, met...)
	}
	met := slices.Clone(all)
	for _, name := range absent {
		all = append(all, guess(name, v, met)...)
	}
	return all
}

// names are the interfaces that a volume is to use.
func names(v Volume, r binding.Resolution) []string {
	if len(v.Interfaces) > 0 {
		return v.Interfaces
	}
	var all []string
	for _, i := range r.Interfaces {
		all = append(all, i.Name)
	}
	for _, p := range r.Problems {
		all = append(all, p.Interface)
	}
	return all
}

// meets gives the pairs of an interface as it is now. It is not there without a NIC or an address; some systems take the
// addresses away with the link.
func meets(name string, v Volume, r binding.Resolution) (met []pair, there bool) {
	at := slices.IndexFunc(r.Interfaces, func(i binding.Interface) bool { return i.Name == name })
	if at < 0 {
		return nil, false
	}
	i := r.Interfaces[at]
	matrix, err := binding.Matrix([]binding.Interface{i}, v.Portals, v.Pairing)
	if err != nil {
		return nil, i.Up && len(i.Addrs) > 0
	}
	for _, p := range matrix {
		met = append(met, pair{name, p.Portal})
	}
	return met, true
}

// guess gives the pairs that an interface which is not there would have: those that its sessions still speak of,
// or else the portals that no other interface meets (two fabrics), or else all of them (one).
func guess(name string, v Volume, met []pair) []pair {
	var portals []netip.AddrPort
	for _, p := range v.Paths {
		if p.Interface == name && !slices.Contains(portals, p.Asked) {
			portals = append(portals, p.Asked)
		}
	}
	if len(portals) == 0 && v.Pairing != binding.PairingMesh {
		portals = slices.DeleteFunc(slices.Clone(v.Portals), func(portal netip.AddrPort) bool {
			return slices.ContainsFunc(met, func(p pair) bool { return p.portal == portal })
		})
	}
	if len(portals) == 0 {
		portals = v.Portals
	}
	all := make([]pair, len(portals))
	for i, portal := range portals {
		all[i] = pair{name, portal}
	}
	return all
}
