package doctor

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

var elsewhere = netip.MustParseAddrPort("10.99.7.1:3260")

// TestLoginsOf: of a node's sessions one is redirected, one is lost and one is not there.
func TestLoginsOf(t *testing.T) {
	s := *well().Node
	s.Records[0].Attachment.Initiator = "iqn.2026-11.io.example:node"
	s.Sessions[0].Portal = elsewhere
	s.Sessions[1].State = sysfs.SessionFailed
	s.Sessions = s.Sessions[:3]
	login := func(iface, nic string, asked, portal netip.AddrPort) Login {
		return Login{Interface: iface, NIC: nic, Target: iqn, Asked: asked, Portal: portal}
	}
	there, missing, asking := loginsOf(s)
	if diff := cmp.Diff([]Login{login("san-a", "eth2", portal1, elsewhere)}, there, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	want := []Login{login("san-a", "eth2", portal2, portal2), login("san-b", "eth3", portal2, portal2)}
	if diff := cmp.Diff(want, missing, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	if len(asking) != 2 || asking[0] != (iscsi.Asking{NIC: "eth2", Portal: portal2, Initiator: "iqn.2026-11.io.example:node", Target: iqn}) {
		t.Errorf("%+v", asking)
	}
}

func TestCheckLogins(t *testing.T) {
	base := Login{Interface: "san-a", NIC: "eth2", Target: iqn, Asked: portal1, Portal: elsewhere}
	for _, c := range []struct {
		name     string
		change   func(*Login)
		severity Severity
		words    []string
	}{
		{"followed", func(*Login) {}, OK, []string{portal1.String() + " through san-a (eth2)", "to " + elsewhere.String()}},
		{"no way", func(l *Login) { l.Err = iscsi.ErrUnreachable }, Error, []string{"no other", "ip route add 10.99.7.1 dev eth2"}},
		{"wrong secret", func(l *Login) { l.Portal, l.Err = l.Asked, iscsi.ErrAuth }, Error, []string{"chap", "refuses the CHAP user or secret", "Secret"}},
		{"no access", func(l *Login) { l.Portal, l.Err = l.Asked, iscsi.ErrDenied }, Error, []string{"access", "does not let this node's initiator name in"}},
		{"to a name", func(l *Login) { l.Portal, l.Err = l.Asked, errors.New("not an IP address") }, Error, []string{"leads nowhere", "not an IP"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := base
			c.change(&l)
			f := well()
			f.Logins = []Login{l}
			found := checkLogins(f)
			if len(found) != 1 || found[0].Severity != c.severity || (c.severity != OK) != (found[0].Fix != "") {
				t.Fatalf("%+v", found)
			}
			text := found[0].Check + " " + found[0].Subject + " " + found[0].Seen + " " + found[0].Fix
			for _, word := range c.words {
				if !strings.Contains(text, word) {
					t.Errorf("%q is not in %q", word, text)
				}
			}
		})
	}
}
