package pathwatch

import (
	"fmt"
	"strings"
)

// maxMessage is what Kubernetes takes of an event's message.
const maxMessage = 1024

// describe says how a volume is off, after a change of the given reason.
func describe(reason string, c condition, where string) string {
	var text string
	switch reason {
	case RedundancyRestored:
		return fmt.Sprintf("All %d paths work again on %s", c.expected, where)
	case AllPathsLost:
		text = fmt.Sprintf("None of %d paths is left on %s, I/O waits", c.expected, where)
	case IOFails:
		text = fmt.Sprintf("None of %d paths is left on %s, and I/O fails", c.expected, where)
	case SomePathsBack:
		text = fmt.Sprintf("%d of %d paths work again on %s, I/O goes on; still lost", c.working, c.expected, where)
	default:
		text = fmt.Sprintf("%d of %d paths are left on %s", c.working, c.expected, where)
	}
	return Clip(text + ": " + losses(c.lost))
}

// losses names what is lost, each interface and cause once.
func losses(lost []loss) string {
	type key struct {
		iface string
		why   cause
	}
	var order []key
	portals := map[key][]string{}
	nics := map[key]string{}
	for _, l := range lost {
		k := key{l.iface, l.why}
		if _, known := portals[k]; !known {
			order = append(order, k)
		}
		portals[k] = append(portals[k], l.portal.String())
		nics[k] = l.nic
	}
	parts := make([]string, len(order))
	for i, k := range order {
		parts[i] = interfaceName(k.iface, nics[k])
		if k.why.ofInterface() {
			parts[i] += " " + string(k.why)
		} else {
			parts[i] += ": " + string(k.why) + " " + strings.Join(portals[k], ", ")
		}
	}
	return strings.Join(parts, "; ")
}

// interfaceName is "san-a (eth2)".
func interfaceName(name, nic string) string {
	if nic == "" {
		return name
	}
	return name + " (" + nic + ")"
}

// Clip bounds a message to what Kubernetes takes.
func Clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage-len("…")], "") + "…"
}
