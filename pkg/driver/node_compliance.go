package driver

import (
	"context"
	"slices"
	"time"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/pathwatch"
)

// sessionLoggedIn is attach.Path.SessionState of a session that works.
const sessionLoggedIn = "LOGGED_IN"

// Demands are what this node's volumes, and the configured portals, want of its interfaces.
func (n *Node) Demands(ctx context.Context) ([]compliance.Demand, error) {
	var all []compliance.Demand
	if len(n.cfg.Portals) > 0 {
		all = append(all, compliance.Demand{Portals: n.cfg.Portals, Pairing: binding.PairingAuto})
	}
	view, err := n.View(ctx)
	for _, v := range view.Volumes {
		all = append(all, demand(v))
	}
	return all, err
}

func demand(v pathwatch.Volume) compliance.Demand {
	d := compliance.Demand{Interfaces: v.Interfaces, Portals: v.Portals, Pairing: v.Pairing, Volume: true}
	for _, p := range v.Paths {
		if p.SessionState == sessionLoggedIn {
			d.Sessions = append(d.Sessions, compliance.Session{Interface: p.Interface, Portal: p.Asked})
		}
	}
	return d
}

// Interfaces resolves the node's interfaces to NICs, as they are now.
func (n *Node) Interfaces() (binding.Resolution, error) { return n.cfg.Interfaces() }

// addressTime is for how long after its start the plugin waits for NICs without an address: a node that boots may still be
// asking for one, and Kubernetes asks once which interfaces a node has.
const addressTime = 10 * time.Second

// addressed gives the interfaces once those with a NIC and a link have an address, or it has been long enough.
func (n *Node) addressed(ctx context.Context) (binding.Resolution, error) {
	ctx, cancel := context.WithDeadline(ctx, n.began.Add(addressTime))
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		r, err := n.cfg.Interfaces()
		if err != nil || !slices.ContainsFunc(r.Interfaces, func(i binding.Interface) bool { return i.Up && len(i.Addrs) == 0 }) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, nil
		case <-ticker.C:
		}
	}
}
