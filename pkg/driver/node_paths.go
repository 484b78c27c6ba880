package driver

import (
	"context"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/volume"
)

// View gives the paths of the staged volumes, and what they should be, for the path watcher.
func (n *Node) View(ctx context.Context) (pathwatch.View, error) {
	interfaces, err := n.cfg.Interfaces()
	if err != nil {
		return pathwatch.View{}, err
	}
	records, err := n.cfg.Records.Records()
	if records == nil && err != nil {
		return pathwatch.View{}, err
	}
	view := pathwatch.View{Interfaces: interfaces}
	for _, r := range records {
		if n.current(r) {
			view.Volumes = append(view.Volumes, n.watched(ctx, r))
		}
	}
	return view, nil
}

// watched is one volume of a view. Its paths are unknown while it is being detached, for one.
func (n *Node) watched(ctx context.Context, r *staging.Record) pathwatch.Volume {
	a := r.Attachment
	v := pathwatch.Volume{
		ID: r.VolumeID, Claim: volume.Claim(r.Claim), Interfaces: a.Interfaces, Portals: a.Portals, Pairing: a.Pairing,
	}
	dev, err := n.cfg.Attach.Inspect(ctx, a.WWID)
	if err != nil {
		klog.FromContext(ctx).V(4).Info("The paths of a volume are not known", "volume", r.VolumeID, "reason", err.Error())
		v.Unknown = true
		return v
	}
	v.Paths = dev.Paths
	return v
}
