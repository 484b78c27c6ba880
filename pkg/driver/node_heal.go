package driver

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/attach"
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

// Heal has the attacher add what the devices of the staged volumes lack.
func (n *Node) Heal(ctx context.Context) error {
	records, err := n.cfg.Records.Records()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Some volumes are not healed")
	}
	var specs []attach.Spec
	for _, r := range records {
		if n.current(r) {
			specs = append(specs, spec(r.Attachment, nil))
		}
	}
	if len(specs) == 0 {
		return nil
	}
	return n.cfg.Attach.Heal(ctx, specs)
}
