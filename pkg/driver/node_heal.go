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

// HealLoop calls Heal at once, whenever events says that a NIC changed, and every 30 s, until ctx ends.
func (n *Node) HealLoop(ctx context.Context, events <-chan struct{}) {
	ticker := time.NewTicker(healInterval)
	defer ticker.Stop()
	for {
		if err := n.Heal(ctx); err != nil && ctx.Err() == nil {
			n.healErrors.Inc()
			klog.FromContext(ctx).Error(err, "Heal")
		}
		select {
		case <-ctx.Done():
			return
		case <-events:
		case <-ticker.C:
		}
	}
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
