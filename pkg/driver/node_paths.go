package driver

import (
	"context"

	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/volume"
)

// View gives the paths of the staged volumes, and what they should be, for the path watcher. Those of a volume that is
// being detached are unknown.
func (n *Node) View(ctx context.Context) (pathwatch.View, error) {
	interfaces, err := n.cfg.Interfaces()
	if err != nil {
		return pathwatch.View{}, err
	}
	devices, records, err := n.devices(ctx)
	if err != nil {
		return pathwatch.View{}, err
	}
	view := pathwatch.View{Interfaces: interfaces}
	for _, r := range records {
		a := r.Attachment
		dev, known := devices[a.WWID]
		view.Volumes = append(view.Volumes, pathwatch.Volume{
			ID: r.VolumeID, Claim: volume.Claim(r.Claim), Interfaces: a.Interfaces, Portals: a.Portals, Pairing: a.Pairing,
			Paths: dev.Paths, Unknown: !known, Fails: dev.Fails,
		})
	}
	return view, nil
}
