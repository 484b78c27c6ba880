package iscsi

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

const (
	// statusRedirect is the class of "target moved" (RFC 7143, section 11.13.5).
	statusRedirect = 0x01
	// maxHops is how often a login may be redirected before it counts as led in a circle.
	maxHops = 4
)

// Landing is where a login ends.
type Landing struct {
	// Portal is the one asked, or the last to which a redirect led.
	Portal netip.AddrPort
	// Tag is the number of its portal group; -1 when it does not say.
	Tag int
}

// FindLanding asks for a login as AskLogin does and follows redirects, from the same NIC, as iscsid does. The error says why
// the login would end at the Landing's portal: what AskLogin returns, or ErrRefused for a redirect that leads nowhere.
func FindLanding(ctx context.Context, ask Asking) (Landing, error) {
	for range maxHops {
		r, err := askPortal(ctx, ask)
		here := Landing{Portal: ask.Portal, Tag: r.tag()}
		if err != nil || r.class != statusRedirect {
			return here, err
		}
		if ask.Portal, err = r.target(); err != nil {
			return here, fmt.Errorf("%w: redirected by %s: %w", ErrRefused, here.Portal, err)
		}
	}
	return Landing{Portal: ask.Portal, Tag: unknownTag}, fmt.Errorf("%w: redirected more than %d times", ErrRefused, maxHops)
}

func (r reply) tag() int {
	tag, err := strconv.Atoi(r.keys["TargetPortalGroupTag"])
	if err != nil || tag < 0 || tag > maxTag {
		return unknownTag
	}
	return tag
}

// target reads where a redirect leads: address[:port][,tag] (RFC 7143, section 13.8). iscsid would look up a name, too.
func (r reply) target() (netip.AddrPort, error) {
	address, _, _ := strings.Cut(r.keys["TargetAddress"], ",")
	return iscsiname.ParsePortal(address)
}
