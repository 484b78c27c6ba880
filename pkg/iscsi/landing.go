package iscsi

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

const (
	// statusRedirect is the class of "target moved" (RFC 7143, section 11.13.5).
	statusRedirect = 0x01
	// maxHops is how often a login may be redirected before it counts as led in a circle.
	maxHops = 4
)

// FindLanding asks for a login as AskLogin does and follows redirects, from the same NIC, as iscsid does. It gives the portal at
// which the login would end, and why it would: what AskLogin returns, or ErrRefused for a redirect that leads nowhere.
func FindLanding(ctx context.Context, ask Asking) (netip.AddrPort, error) {
	for range maxHops {
		r, err := askPortal(ctx, ask)
		if err != nil || r.class != statusRedirect {
			return ask.Portal, err
		}
		to, err := r.target()
		if err != nil {
			return ask.Portal, fmt.Errorf("%w: redirected by %s: %w", ErrRefused, ask.Portal, err)
		}
		ask.Portal = to
	}
	return ask.Portal, fmt.Errorf("%w: redirected more than %d times", ErrRefused, maxHops)
}

// target reads where a redirect leads: address[:port][,tag] (RFC 7143, section 13.8). iscsid would look up a name, too.
func (r reply) target() (netip.AddrPort, error) {
	address, _, _ := strings.Cut(r.keys["TargetAddress"], ",")
	return iscsiname.ParsePortal(address)
}
