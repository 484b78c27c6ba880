package attach

import (
	"context"
	"errors"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/iscsi"
)

// forgetLeftovers removes our node records of targets that no attached volume is on and that we have no session with: of one that
// never let us in, or of the boot before. Whoever attaches a volume there again writes them anew. The records of other targets
// go with the last session (idle.go).
func (a *Attacher) forgetLeftovers(ctx context.Context, nodes []iscsi.NodeID, specs []Spec) error {
	targets, err := a.leftovers(nodes, specs)
	errs := []error{err}
	for _, target := range targets {
		errs = append(errs, a.forgetTarget(ctx, target))
	}
	return errors.Join(errs...)
}

// leftovers gives such targets.
func (a *Attacher) leftovers(nodes []iscsi.NodeID, specs []Spec) (left []string, err error) {
	if len(nodes) == 0 {
		return nil, nil
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
			left = append(left, n.Target)
		}
	}
	return left, nil
}

// forgetTarget removes the records of a target, unless an attach to it is in flight or has made a session meanwhile.
func (a *Attacher) forgetTarget(ctx context.Context, target string) error {
	release, ok := a.targets.Alone(target)
	if !ok {
		return nil
	}
	defer release()
	last, err := a.lastOf(target)
	if err != nil || !last {
		return err
	}
	if err := a.records.remove(ctx, func(n iscsi.NodeID) bool { return n.Target == target }); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("The records of a target were removed: no session to it is left, and no volume is on it", "target", target)
	return nil
}
