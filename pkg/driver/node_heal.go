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

// healInterval is how often Heal runs when nothing happens.
const healInterval = 30 * time.Second

// leaveInterval is how soon it is looked again at paths that are leaving.
const leaveInterval = 250 * time.Millisecond

// HealLoop calls Heal and Vacate at once, whenever events says that a NIC or an interface changed, soon when something is leaving,
// and every 30 s, until ctx ends.
func (n *Node) HealLoop(ctx context.Context, events <-chan struct{}) {
	var stays patience
	for {
		if err := n.Heal(ctx); err != nil && ctx.Err() == nil {
			n.healErrors.Inc()
			klog.FromContext(ctx).Error(err, "Heal")
		}
		timer := time.NewTimer(stays.after(ctx, n.Vacate(ctx)))
		select {
		case <-ctx.Done():
		case <-events:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
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
	records, _ := n.cfg.Records.Records() // Heal tells of those that cannot be read
	var specs []attach.Spec
	for _, r := range records {
		if n.current(r) {
			specs = append(specs, spec(r.Attachment, nil))
		}
	}
	return n.cfg.Attach.Vacate(ctx, specs)
}

// Heal has the attacher add what the devices of the staged volumes lack, and then make them be as their policies say: sessions
// that are new may be those of preferred interfaces.
func (n *Node) Heal(ctx context.Context) error {
	records, err := n.cfg.Records.Records()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Some volumes are not healed")
	}
	records = slices.DeleteFunc(records, func(r *staging.Record) bool { return !n.current(r) })
	if len(records) == 0 {
		return nil
	}
	specs := make([]attach.Spec, len(records))
	for i, r := range records {
		specs[i] = spec(r.Attachment, nil)
	}
	return errors.Join(n.cfg.Attach.Heal(ctx, specs), n.governAll(ctx, records))
}
