package volume

import (
	"net/netip"

	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
)

const (
	iqnRule = "an iSCSI name of at most 223 bytes: iqn.YYYY-MM.reversed.domain[:text of a-z 0-9 . : -], " +
		"eui. with 16 or naa. with 16 or 32 hexadecimal digits"
	portalRule = "an IP address with an optional port, such as 192.0.2.1:3260 or [2001:db8::1]:3260, several separated by commas"
)

// ParseIQN checks the iSCSI name in a field of a request and gives its canonical form. Errors are *FieldError.
func ParseIQN(field, s string) (string, error) {
	if s == "" {
		return "", missing(field, iqnRule)
	}
	name, err := iscsiname.Parse(s)
	if err != nil {
		return "", NewFieldError(field, s, iqnRule)
	}
	return name, nil
}

func parsePortal(field, s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, missing(field, portalRule)
	}
	portal, err := iscsiname.ParsePortal(s)
	if err != nil {
		return netip.AddrPort{}, NewFieldError(field, s, portalRule)
	}
	return portal, nil
}

// ParseNodeID checks a CSI node id, which is the node's initiator name. A harmless string of another form gives an
// error that is ErrForeign: there is no such node.
func ParseNodeID(s string) (string, error) {
	name, err := ParseIQN("node_id", s)
	if err != nil && s != "" && harmless(s) {
		return "", foreign("node_id", s, iqnRule)
	}
	return name, err
}
