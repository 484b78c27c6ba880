package driver

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/backend"
)

const (
	// scrapeWait bounds what a scrape asks the targets.
	scrapeWait = 5 * time.Second
	// healthPage is how many volumes are asked for at once.
	healthPage = 1000
)

// controllerCollector asks the targets each time it is asked, all at once. Prometheus seldom reaches the storage hosts; the
// controller does.
type controllerCollector struct {
	ctx        context.Context //nolint:containedctx // the collector's interface has none
	controller *Controller

	up, size, free, metadata, unhealthy *prometheus.Desc
}

// NewControllerCollector makes the metrics of the targets. ctx is the process's.
func NewControllerCollector(ctx context.Context, c *Controller) prometheus.Collector {
	pool := []string{"target", "pool"}
	return &controllerCollector{
		ctx: ctx, controller: c,
		up:       prometheus.NewDesc("portbind_target_up", "1 when the target answers the controller.", []string{"target"}, nil),
		size:     prometheus.NewDesc("portbind_pool_size_bytes", "Size of a pool's data space.", pool, nil),
		free:     prometheus.NewDesc("portbind_pool_free_bytes", "Data space of a pool that is not yet allocated.", pool, nil),
		metadata: prometheus.NewDesc("portbind_pool_metadata_used_ratio", "Used fraction of a pool's metadata, 0 to 1.", pool, nil),
		unhealthy: prometheus.NewDesc("portbind_volumes_unhealthy",
			"Volumes with a problem at the target, by CSI's status and reason.", []string{"target", "status", "reason"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *controllerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.size, c.free, c.metadata, c.unhealthy} {
		ch <- d
	}
}

// Collect implements prometheus.Collector, which gives no context. What cannot be asked is left out and logged.
func (c *controllerCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(c.ctx, scrapeWait)
	defer cancel()
	var wg sync.WaitGroup
	for _, t := range c.controller.targets {
		wg.Go(func() {
			up := 1.0
			if err := c.target(ctx, t, ch); err != nil {
				klog.FromContext(ctx).Error(err, "Metrics of a target are missing", "target", t.Name)
				up = 0
			}
			ch <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up, t.Name)
		})
	}
	wg.Wait()
}

// target gives all of one target.
func (c *controllerCollector) target(ctx context.Context, t Target, ch chan<- prometheus.Metric) error {
	problems, err := countProblems(ctx, t.Backend)
	if err != nil {
		return err
	}
	for k, n := range problems {
		ch <- prometheus.MustNewConstMetric(c.unhealthy, prometheus.GaugeValue, float64(n), t.Name, k.status, k.reason)
	}
	info, err := t.Backend.Target(ctx)
	if err != nil {
		return err
	}
	for _, pool := range info.Pools {
		room, err := t.Backend.Capacity(ctx, pool)
		if err != nil {
			return err
		}
		for desc, value := range map[*prometheus.Desc]float64{
			c.size: float64(room.TotalBytes), c.free: float64(room.AvailableBytes), c.metadata: room.MetadataUsed,
		} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, t.Name, pool)
		}
	}
	return nil
}

// problemKind is what volumes are counted by.
type problemKind struct{ status, reason string }

func countProblems(ctx context.Context, b backend.Backend) (map[problemKind]int, error) {
	count := map[problemKind]int{}
	token := ""
	for {
		ill, next, err := b.ListHealth(ctx, healthPage, token)
		if err != nil {
			return nil, err
		}
		for _, h := range ill {
			for _, p := range h.Problems {
				count[problemKind{healthKinds[p.Severity].String(), p.Reason}]++
			}
		}
		if next == "" {
			return count, nil
		}
		token = next
	}
}
