package driver

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/staging"
)

// nodeCollector reads the state of the staged volumes from the kernel each time it is asked; no program is started.
type nodeCollector struct {
	ctx            context.Context //nolint:containedctx // the collector's interface has none
	node           *Node
	volumes, paths *prometheus.Desc
	maps           *prometheus.Desc
	healErrors     prometheus.Counter
}

// NewNodeCollector makes the metrics of a node's volumes and paths. ctx is the process's.
func NewNodeCollector(ctx context.Context, n *Node) prometheus.Collector {
	return &nodeCollector{
		ctx: ctx, node: n,
		volumes: prometheus.NewDesc("portbind_volumes_staged", "Volumes that are staged on this node.", nil, nil),
		paths: prometheus.NewDesc("portbind_paths", "Paths of the staged volumes, by interface, portal and state.",
			[]string{"interface", "portal", "state"}, nil),
		maps: prometheus.NewDesc("portbind_maps", "Multipath maps of the staged volumes, by state: whole, degraded (a path in them has "+
			"failed), waiting (none works, I/O waits), failing (none works, I/O fails).", []string{"state"}, nil),
		healErrors: n.healErrors,
	}
}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.volumes
	ch <- c.paths
	ch <- c.maps
	c.healErrors.Describe(ch)
}

// Collect implements prometheus.Collector, which gives no context. What cannot be read is left out.
func (c *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	c.healErrors.Collect(ch)
	devices, _, err := c.node.devices(c.ctx)
	if err != nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(c.volumes, prometheus.GaugeValue, float64(len(devices)))
	states := map[string]int{"whole": 0, "degraded": 0, "waiting": 0, "failing": 0}
	for _, d := range devices {
		states[mapState(d)]++
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(c.maps, prometheus.GaugeValue, float64(n), state)
	}
	type key struct{ iface, portal, state string }
	count := map[key]int{}
	for _, d := range devices {
		for _, p := range d.Paths {
			count[key{p.Interface, portalLabel(p), p.State}]++
		}
	}
	for k, n := range count {
		ch <- prometheus.MustNewConstMetric(c.paths, prometheus.GaugeValue, float64(n), k.iface, k.portal, k.state)
	}
}

// mapState judges a map by the paths in it. What should be in it besides, and is not, portbind_volume_paths_expected tells.
func mapState(d attach.Device) string {
	active, failed := 0, 0
	for _, p := range d.Paths {
		switch p.State {
		case attach.StateActive:
			active++
		case attach.StateFailed:
			failed++
		}
	}
	switch {
	case active > 0 && failed == 0:
		return "whole"
	case active > 0:
		return "degraded"
	case d.Fails:
		return "failing"
	default:
		return "waiting"
	}
}

// portalLabel is where a path's session logs in, not where it is connected: one that is down is nowhere. Of a path over
// somebody else's session it is not known.
func portalLabel(p attach.Path) string {
	if !p.Asked.IsValid() {
		return ""
	}
	return p.Asked.String()
}

// devices are those of the volumes that are staged, by WWID, and their records.
func (n *Node) devices(ctx context.Context) (map[string]attach.Device, []*staging.Record, error) {
	records, err := n.cfg.Records.Records()
	if records == nil && err != nil {
		return nil, nil, err
	}
	records = slices.DeleteFunc(records, func(r *staging.Record) bool { return !n.current(r) })
	wwids := make([]string, len(records))
	for i, r := range records {
		wwids[i] = r.Attachment.WWID
	}
	devices, err := n.cfg.Attach.InspectAll(ctx, wwids)
	return devices, records, err
}
