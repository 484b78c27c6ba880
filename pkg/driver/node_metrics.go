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
	healErrors     prometheus.Counter
}

// NewNodeCollector makes the metrics of a node's volumes and paths. ctx is the process's.
func NewNodeCollector(ctx context.Context, n *Node) prometheus.Collector {
	return &nodeCollector{
		ctx: ctx, node: n,
		volumes: prometheus.NewDesc("portbind_volumes_staged", "Volumes that are staged on this node.", nil, nil),
		paths: prometheus.NewDesc("portbind_paths", "Paths of the staged volumes, by interface, portal and state.",
			[]string{"interface", "portal", "state"}, nil),
		healErrors: n.healErrors,
	}
}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.volumes
	ch <- c.paths
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
