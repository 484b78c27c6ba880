package attach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	// discoverTime bounds what one portal may take to list a target's portals, discoverTries how many are asked.
	discoverTime  = 3 * time.Second
	discoverTries = 3
)

// Portals gives those at which a target listens now, as it says itself over an interface that has a session with it. The order is
// the target's. ErrNotReady when there is no such session or none of them gives an answer.
func (a *Attacher) Portals(ctx context.Context, target string) ([]netip.AddrPort, error) {
	sessions, err := a.sys.Sessions()
	if err != nil {
		return nil, err
	}
	sessions = slices.DeleteFunc(sessions, func(s sysfs.Session) bool {
		_, ours := iscsi.InterfaceOf(s.Iface)
		return !ours || s.Target != target || !s.LoggedIn() || !s.Portal.IsValid() || s.NIC == "" || a.noLink(s.NIC)
	})
	var errs []error
	for _, s := range sessions[:min(len(sessions), discoverTries)] {
		portals, err := a.discover(ctx, s)
		if err == nil && len(portals) > 0 {
			return portals, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("%w: %s does not say where it listens: %w", ErrNotReady, target, errors.Join(errs...))
}

func (a *Attacher) discover(ctx context.Context, s sysfs.Session) ([]netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, discoverTime)
	defer cancel()
	return iscsi.Discover(ctx, iscsi.Asking{NIC: s.NIC, Portal: s.Portal, Initiator: s.Initiator, Target: s.Target})
}
