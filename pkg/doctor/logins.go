package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/nodeview"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Login is where a login that a volume here needs ends, if it is not where it is asked for, or fails.
type Login struct {
	Interface, NIC, Target string
	// Asked is the portal that is asked for it, Portal the one to which that redirects, or the same.
	Asked, Portal netip.AddrPort
	// Err is why it fails there.
	Err error
}

// loginsOf gives the sessions that volumes here need: those that are redirected, and those that are not logged in. What becomes
// of the latter is still to be asked.
func loginsOf(s nodeview.Snapshot) (there, missing []Login, asking []iscsi.Asking) {
	for _, r := range s.Records {
		one := s
		one.Records = []*staging.Record{r}
		for _, p := range pairsOf(one, nil) {
			l := Login{
				Interface: p.Interface.Name, NIC: p.Interface.NIC, Target: r.Attachment.Target,
				Asked: p.Portal, Portal: p.Portal,
			}
			at := slices.IndexFunc(s.Sessions, func(x sysfs.Session) bool {
				return x.Iface == iscsi.IfaceName(l.Interface) && x.Target == l.Target && x.Persistent == l.Asked
			})
			switch {
			case slices.ContainsFunc(append(there, missing...), l.same):
			case at < 0 || !s.Sessions[at].LoggedIn():
				missing = append(missing, l)
				asking = append(asking, iscsi.Asking{
					NIC: l.NIC, Portal: l.Asked, Initiator: r.Attachment.Initiator, Target: l.Target,
				})
			case s.Sessions[at].Portal != l.Asked:
				l.Portal = s.Sessions[at].Portal
				there = append(there, l)
			}
		}
	}
	return there, missing, asking
}

func (l Login) same(m Login) bool {
	return l.Interface == m.Interface && l.Target == m.Target && l.Asked == m.Asked
}

// findLogins asks where the logins that are missing would end, and whether they would be let in there. A portal that does not answer is
// judged as a portal.
func (o Source) findLogins(ctx context.Context, s nodeview.Snapshot) []Login {
	all, missing, asking := loginsOf(s)
	records := iscsi.New(iscsi.Options{Host: o.Host})
	var group sync.WaitGroup
	for i := range missing {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, connectTime)
			defer cancel()
			missing[i].Portal, missing[i].Err = tryLogin(ctx, records, missing[i], asking[i])
		})
	}
	group.Wait()
	for _, l := range missing {
		if l.Portal != l.Asked || l.refused() {
			all = append(all, l)
		}
	}
	return all
}

// tryLogin follows redirects and proves who this node is, with what open-iscsi's record of the session has.
func tryLogin(ctx context.Context, records *iscsi.Client, l Login, ask iscsi.Asking) (netip.AddrPort, error) {
	to, err := iscsi.FindLanding(ctx, ask)
	if err != nil {
		return to, err
	}
	chap, err := records.RecordedCHAP(ctx, iscsi.NodeID{Target: l.Target, Portal: l.Asked, Interface: l.Interface})
	if err != nil {
		return to, nil //nolint:nilerr // without a record nobody has tried to log in
	}
	ask.Portal = to
	err = iscsi.TryLogin(ctx, iscsi.Admission{Asking: ask, CHAP: chap})
	if errors.Is(err, iscsi.ErrAuth) || errors.Is(err, iscsi.ErrDenied) {
		return to, err
	}
	return to, nil // of what else there may be, such as a target without memory, open-iscsi's log tells
}

// refused says that the target answers, and lets nobody in.
func (l Login) refused() bool {
	return errors.Is(l.Err, iscsi.ErrRefused) || errors.Is(l.Err, iscsi.ErrDenied) || errors.Is(l.Err, iscsi.ErrAuth)
}

// checkLogins tells of logins that are refused, of redirects, and of those that open-iscsi cannot follow.
func checkLogins(f Facts) []Finding {
	var all []Finding
	for _, l := range f.Logins {
		all = append(all, checkLogin(l))
	}
	return all
}

func checkLogin(l Login) Finding {
	finding := Finding{Severity: OK, Check: "redirect", Subject: fmt.Sprintf("%s through %s (%s)", l.Asked, l.Interface, l.NIC)}
	seen := fmt.Sprintf("redirects logins for %s to %s", l.Target, l.Portal)
	if l.Err != nil {
		finding.Severity, finding.Evidence = Error, []string{l.Err.Error()}
	}
	switch {
	case errors.Is(l.Err, iscsi.ErrAuth):
		finding.Check = "chap"
		finding.Seen = l.Target + " refuses the CHAP user or secret that this node has, or does not prove its own"
		finding.Fix = "Compare the volume's Secret with what the target has. A changed Secret counts from the next stage: delete the " +
			"volume's pods on this node"
	case errors.Is(l.Err, iscsi.ErrDenied):
		finding.Check = "access"
		finding.Seen = l.Target + " does not let this node's initiator name in"
		finding.Fix = "Give it the LUN again (an ACL, a host group of the array); a volume that was taken from this node on purpose ends with " +
			"its pods"
	case l.Err != nil && l.Portal == l.Asked:
		finding.Evidence, finding.Seen = nil, "a login for "+l.Target+" leads nowhere: "+l.Err.Error()
		finding.Fix = "Correct the address in the array's redirect: an IP address of one of its portals"
	case l.Err != nil:
		finding.Seen = seen + ", where they fail; open-iscsi follows a redirect through the NIC that the session is bound to, and no other"
		finding.Fix = fmt.Sprintf("Let the array redirect to a portal that %s reaches, or give it a way there: ip route add %s dev %s [via ...]",
			l.NIC, l.Portal.Addr(), l.NIC)
	default:
		finding.Seen = seen
	}
	return finding
}
