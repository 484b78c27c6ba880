package binding

import "slices"

// IsDrained says that an interface is not to carry I/O until somebody takes that back, whatever its NIC can do.
func (r Resolution) IsDrained(name string) bool { return slices.Contains(r.Drained, name) }

// Names says whether an interface is configured on this node, with a NIC or without.
func (r Resolution) Names(name string) bool {
	_, there := r.Find(name)
	return there || slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Interface == name })
}

// Find gives the interface of that name; false when it has no NIC, or is not configured.
func (r Resolution) Find(name string) (Interface, bool) {
	at := slices.IndexFunc(r.Interfaces, func(i Interface) bool { return i.Name == name })
	if at < 0 {
		return Interface{}, false
	}
	return r.Interfaces[at], true
}
