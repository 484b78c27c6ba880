package driver

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portbind/portbind/pkg/attach"
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
	devices, err := c.node.devices(c.ctx)
	if err != nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(c.volumes, prometheus.GaugeValue, float64(len(devices)))
	type key struct{ iface, portal, state string }
	count := map[key]int{}
	for _, d := range devices {
		for _, p := range d.Paths {
			count[key{p.Interface, p.Portal.String(), p.State}]++
		}
	}
	for k, n := range count {
		ch <- prometheus.MustNewConstMetric(c.paths, prometheus.GaugeValue, float64(n), k.iface, k.portal, k.state)
	}
}

// devices are those of the volumes that are staged.
func (n *Node) devices(ctx context.Context) ([]attach.Device, error) {
	records, err := n.cfg.Records.Records()
	if records == nil && err != nil {
		return nil, err
	}
	var all []attach.Device
	for _, r := range records {
		if !n.current(r) {
			continue
		}
		if dev, err := n.cfg.Attach.Inspect(ctx, r.Attachment.WWID); err == nil {
			all = append(all, dev)
		}
	}
	return all, nil
}
