package driver

import (
	"context"
	"errors"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/staging"
)

const (
	// healInterval is how often Heal runs when nothing happens.
	healInterval = 30 * time.Second
	// healSoon is when it is looked again at volumes that lack paths; if they still do, after twice that time, and so on.
	healSoon = time.Second
	// leaveInterval is how soon it is looked again at paths that are leaving.
	leaveInterval = 250 * time.Millisecond
)

// HealLoop calls Heal and Vacate at once, whenever events says that a NIC or an interface changed, soon when something is lacking or
// leaving, and every 30 s, until ctx ends.
func (n *Node) HealLoop(ctx context.Context, events <-chan struct{}) {
	var stays patience
	for soon := healSoon; ctx.Err() == nil; {
		lacks, err := n.Heal(ctx)
		if err != nil && ctx.Err() == nil {
			n.healErrors.Inc()
			klog.FromContext(ctx).Error(err, "Heal")
		}
		wait := stays.after(ctx, n.Vacate(ctx))
		if lacks > 0 {
			wait, soon = min(wait, soon), min(2*soon, healInterval)
		}
		if news := n.pause(ctx, events, wait); news || lacks == 0 {
			soon = healSoon
		}
	}
}

// pause lasts for wait, until an event, or until healSoon after a volume was attached without all of its paths. It says whether one
// of the latter two happened.
func (n *Node) pause(ctx context.Context, events <-chan struct{}, wait time.Duration) (news bool) {
	end := time.Now().Add(wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-events:
			return true
		case <-timer.C:
			return news
		case <-n.incomplete:
			news = true
			if soon := time.Now().Add(healSoon); soon.Before(end) {
				end = soon
				timer.Reset(healSoon)
			}
		}
	}
}

// poke has volumes that lack paths looked at soon.
func (n *Node) poke() {
	select {
	case n.incomplete <- struct{}{}:
	default: // it is known already
	}
}

// patience says when to look again at what cannot leave, and tells why once.
type patience struct {
	why  string
	wait time.Duration
}

func (p *patience) after(ctx context.Context, err error) time.Duration {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why == "" || why != p.why {
		p.why, p.wait = why, leaveInterval
	} else {
		p.wait = min(2*p.wait, healInterval)
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return healInterval
	case errors.Is(err, attach.ErrStays):
		if p.wait == leaveInterval {
			klog.FromContext(ctx).Info("Paths of an interface are leaving", "left", why)
		}
		return p.wait
	default:
		klog.FromContext(ctx).Error(err, "Paths cannot leave")
		return healInterval
	}
}

// Vacate has the attacher take away what should not carry I/O any more.
func (n *Node) Vacate(ctx context.Context) error {
	records, err := n.cfg.Records.Records()
	if err != nil {
		return err // what a volume that is not known needs must not be taken away
	}
	var specs []attach.Spec
	for _, r := range records {
		if n.current(r) {
			specs = append(specs, spec(r.Attachment, nil))
		}
	}
	return n.cfg.Attach.Vacate(ctx, specs)
}

// Heal has the attacher add what the devices of the staged volumes lack, and then make them be as their policies say: sessions
// that are new may be those of preferred interfaces. It says how many paths are lacking still.
func (n *Node) Heal(ctx context.Context) (lacks int, err error) {
	records, err := n.cfg.Records.Records()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Some volumes are not healed")
	}
	records = slices.DeleteFunc(records, func(r *staging.Record) bool { return !n.current(r) })
	if len(records) == 0 {
		return 0, nil
	}
	specs := make([]attach.Spec, len(records))
	for i, r := range records {
		specs[i] = spec(r.Attachment, nil)
	}
	lacks, err = n.cfg.Attach.Heal(ctx, specs)
	return lacks, errors.Join(err, n.governAll(ctx, records))
}
