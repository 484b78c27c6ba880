package pathwatch

import (
	"net/netip"

	"github.com/portbind/portbind/pkg/binding"
)

// Report holds the paths that a volume has against those that it should have, at one moment.
type Report struct {
	// Expected is how many paths there should be, Working how many of them work.
	Expected, Working int
	// Alive says that some path works, be it one that nobody expects: I/O flows.
	Alive bool
	// Lost are those that are expected and do not work.
	Lost []Loss
	// Text names what is lost, each interface and cause once.
	Text string
}

// Loss is a path that should work and does not.
type Loss struct {
	Interface, NIC string
	Portal         netip.AddrPort
	// Down says that the session to the portal is there and not logged in.
	Down bool
}

// Assess looks at one volume. The result depends only on the arguments.
func Assess(v Volume, r binding.Resolution) Report {
	c := assess(v, r)
	report := Report{Expected: c.expected, Working: c.working, Alive: c.alive, Text: losses(c.lost)}
	for _, l := range c.lost {
		report.Lost = append(report.Lost, Loss{Interface: l.iface, NIC: l.nic, Portal: l.portal, Down: l.why == causeSession})
	}
	return report
}
