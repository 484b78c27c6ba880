package attach

import (
	"context"
	"errors"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
)

// forgetLeftovers removes our node records, which may hold secrets, of targets that no attached volume is on and that we have no session
// with: of one that never let us in, or of the boot before. Whoever attaches a volume there again writes them anew. The records of
// other targets go with the last session (idle.go).
func (a *Attacher) forgetLeftovers(ctx context.Context, specs []Spec) {
	left, err := a.leftovers(ctx, specs)
	for _, id := range left {
		err = errors.Join(err, a.forgetTarget(ctx, id))
	}
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Records of targets without a volume are left")
	}
}

// leftovers gives one record for each such target.
func (a *Attacher) leftovers(ctx context.Context, specs []Spec) (left []iscsi.NodeID, err error) {
	nodes, err := a.recorded(ctx)
	if err != nil || len(nodes) == 0 {
		return nil, err
	}
	sessions, err := a.sys.Sessions()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, s := range specs {
		seen[s.Target] = true
	}
	for _, s := range sessions {
		seen[s.Target] = true
	}
	for _, n := range nodes {
		if !seen[n.Target] {
			seen[n.Target] = true
			left = append(left, n)
		}
	}
	return left, nil
}

// forgetTarget removes the records of a target, unless an attach to it is in flight or has made a session meanwhile.
func (a *Attacher) forgetTarget(ctx context.Context, id iscsi.NodeID) error {
	release, ok := a.targets.Alone(id.Target)
	if !ok {
		return nil
	}
	defer release()
	last, err := a.lastOf(id.Target)
	if err != nil || !last {
		return err
	}
	if err := a.forgetRecords(ctx, id); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for n := range a.written {
		if n.Target == id.Target {
			delete(a.written, n)
		}
	}
	klog.FromContext(ctx).Info("The records of a target were removed: no session to it is left, and no volume is on it", "target", id.Target)
	return nil
}
