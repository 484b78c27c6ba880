package driver

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/volume"
)

const (
	// portalsInterval is how often targets are asked where they listen, portalsSoon when again if one has not named a portal of before.
	portalsInterval = 30 * time.Second
	portalsSoon     = 5 * time.Second
	// portalMisses is how often in a row a portal must not be named before it counts as removed: a target that has just been
	// started may not have all of them yet.
	portalMisses = 2
)

// FollowPortals has the staged volumes know the portals that their targets have now, until ctx ends: those in the volume context are
// from when the volume was made. Healing then adds paths over new ones, and takes away those over removed ones. Static volumes
// have the portals that their author names.
func (n *Node) FollowPortals(ctx context.Context) {
	missed := map[string]map[netip.AddrPort]int{}
	for ctx.Err() == nil {
		n.followPortals(ctx, missed)
		if doubted(missed) {
			wait(ctx, portalsSoon)
		} else {
			wait(ctx, portalsInterval)
		}
	}
}

// doubted says that there is a portal which may have been removed.
func doubted(missed map[string]map[netip.AddrPort]int) bool {
	for _, misses := range missed {
		for _, count := range misses {
			if count < portalMisses {
				return true
			}
		}
	}
	return false
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// followPortals asks each target once. missed counts, by target, the answers that did not name a portal.
func (n *Node) followPortals(ctx context.Context, missed map[string]map[netip.AddrPort]int) {
	records, _ := n.cfg.Records.Records() // Heal tells of those that cannot be read
	volumes, known := map[string][]string{}, map[string][]netip.AddrPort{}
	for _, r := range records {
		id, err := volume.ParseVolumeID(r.VolumeID)
		if err != nil || id.IsStatic() || !n.current(r) {
			continue
		}
		target := r.Attachment.Target
		volumes[target], known[target] = append(volumes[target], r.VolumeID), append(known[target], r.Attachment.Portals...)
	}
	changed := false
	for target, ids := range volumes {
		now := n.portals(ctx, target)
		if len(now) == 0 {
			continue
		}
		missed[target] = countMisses(missed[target], known[target], now)
		for _, id := range ids {
			changed = n.recordPortals(ctx, id, now, missed[target]) || changed
		}
	}
	maps.DeleteFunc(missed, func(target string, _ map[netip.AddrPort]int) bool { return volumes[target] == nil })
	if changed {
		n.poke()
	}
}

// portals are none when they cannot be known.
func (n *Node) portals(ctx context.Context, target string) []netip.AddrPort {
	now, err := n.cfg.Attach.Portals(ctx, target)
	if err != nil {
		klog.FromContext(ctx).V(4).Info("A target's portals are not known anew", "target", target, "reason", err.Error())
	}
	return now
}

// countMisses goes on counting for the portals that are known.
func countMisses(before map[netip.AddrPort]int, known, now []netip.AddrPort) map[netip.AddrPort]int {
	misses := map[netip.AddrPort]int{}
	for _, p := range known {
		if !slices.Contains(now, p) {
			misses[p] = before[p] + 1
		}
	}
	return misses
}

// present gives what of have there is still, and then what is new.
func present(have, now []netip.AddrPort, misses map[netip.AddrPort]int) []netip.AddrPort {
	all := slices.DeleteFunc(slices.Clone(have), func(p netip.AddrPort) bool { return misses[p] >= portalMisses })
	for _, p := range now {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// recordPortals has a volume's record, from where heal and a restart have them, name the portals that there are now.
func (n *Node) recordPortals(ctx context.Context, volumeID string, now []netip.AddrPort, misses map[netip.AddrPort]int) (changed bool) {
	release, err := n.calls.acquire("volume " + volumeID)
	if err != nil {
		return false // a call is at work on it; the next look comes
	}
	defer release()
	r, err := n.cfg.Records.Record(volumeID)
	if err == nil && (r == nil || !n.current(r)) {
		return false
	}
	if err == nil {
		have := r.Attachment.Portals
		if now = present(have, now, misses); slices.Equal(have, now) {
			return false
		}
		if r.Given == nil {
			r.Given = have
		}
		r.Attachment.Portals = now
		klog.FromContext(ctx).Info("The portals of a volume's target have changed", "volume", volumeID, "before", have, "now", now)
		err = n.cfg.Records.Put(r)
	}
	if err != nil {
		klog.FromContext(ctx).Error(err, "A volume does not know its target's portals", "volume", volumeID)
	}
	return err == nil
}

// keepPortals has a stage that is repeated keep what the target has said since: kubelet repeats the volume context.
func keepPortals(want, before *staging.Record) {
	if before.Given != nil && slices.Equal(before.Given, want.Attachment.Portals) {
		want.Given, want.Attachment.Portals = before.Given, before.Attachment.Portals
	}
}
