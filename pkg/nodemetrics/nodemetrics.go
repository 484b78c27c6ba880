// Package nodemetrics counts what the storage NICs, the bound sessions and their disks of a node do, for Prometheus. It reads sysfs
// when it is asked; it starts no program and asks no device.
package nodemetrics

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/sysfs"
)

// Collector is a prometheus.Collector. What cannot be read is left out and logged.
type Collector struct {
	ctx        context.Context //nolint:containedctx // the collector's interface has none
	sys        sysfs.FS
	interfaces func() (binding.Resolution, error)

	descs
	healed *prometheus.CounterVec

	mu sync.Mutex
	// disks are the last readings, links the sums of what was done since the start: disks come and go, counters must not fall.
	disks map[diskID]sysfs.DiskStat
	links map[link]sysfs.DiskStat
}

// link is a way to a target: what sessions and disks are counted by.
type link struct{ iface, portal string }

// diskID tells disks of one name apart that follow each other.
type diskID struct {
	session int
	hctl    sysfs.HCTL
	name    string
}

// New makes the metrics. ctx is the process's; interfaces resolves the node's as they are.
func New(ctx context.Context, sys sysfs.FS, interfaces func() (binding.Resolution, error)) *Collector {
	return &Collector{
		ctx: ctx, sys: sys, interfaces: interfaces, descs: newDescs(),
		healed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portbind_heal_paths_total", Help: "Paths that healing brought back to the map of a volume.",
		}, []string{"interface"}),
		disks: map[diskID]sysfs.DiskStat{}, links: map[link]sysfs.DiskStat{},
	}
}

// Healed counts a path that healing has brought back.
func (c *Collector) Healed(p binding.Pair) { c.healed.WithLabelValues(p.Interface.Name).Inc() }

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.healed.Collect(ch)
	if err := errors.Join(c.nics(ch), c.sessions(ch)); err != nil {
		klog.FromContext(c.ctx).Error(err, "Some metrics are missing")
	}
}

// nics are the interfaces that have a NIC.
func (c *Collector) nics(ch chan<- prometheus.Metric) error {
	resolution, err := c.interfaces()
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range resolution.Interfaces {
		nic, err := c.sys.NIC(i.NIC)
		if errors.Is(err, sysfs.ErrGone) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		count := func(d *prometheus.Desc, n uint64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), i.Name, i.NIC)
		}
		count(c.received, nic.RxBytes)
		count(c.transmitted, nic.TxBytes)
		if nic.Flaps != nil {
			count(c.linkLosses, uint64(max(0, *nic.Flaps)))
		}
	}
	return errors.Join(errs...)
}

// sessions are ours, with what their disks did.
func (c *Collector) sessions(ch chan<- prometheus.Metric) error {
	all, err := c.sys.Sessions()
	if err != nil {
		return err
	}
	type key struct {
		link
		state string
	}
	count := map[key]int{}
	ours := map[int]link{}
	for _, s := range all {
		if name, ok := iscsi.InterfaceOf(s.Iface); ok {
			l := link{name, portal(s)}
			ours[s.ID] = l
			count[key{l, strings.ToLower(s.State)}]++
		}
	}
	for k, n := range count {
		ch <- prometheus.MustNewConstMetric(c.sessionCount, prometheus.GaugeValue, float64(n), k.iface, k.portal, k.state)
	}
	sums, err := c.account(ours)
	for l, sum := range sums {
		c.emit(ch, l, sum)
	}
	return err
}

// portal is where the session logs in; where it is connected depends on redirects, and one that is down is nowhere.
func portal(s sysfs.Session) string {
	for _, p := range []netip.AddrPort{s.Persistent, s.Portal} {
		if p.IsValid() {
			return p.String()
		}
	}
	return ""
}

// account reads all disks and gives the sums by link.
func (c *Collector) account(sessions map[int]link) (map[link]sysfs.DiskStat, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := map[diskID]sysfs.DiskStat{}
	inFlight := map[link]uint64{}
	var errs []error
	for session, l := range sessions {
		errs = append(errs, c.read(session, func(id diskID, stat sysfs.DiskStat) {
			now[id] = stat
			inFlight[l] += stat.InFlight
			c.links[l] = c.links[l].Plus(stat.Since(c.disks[id]))
		}))
	}
	c.disks = now
	sums := map[link]sysfs.DiskStat{}
	for l, sum := range c.links {
		sum.InFlight = inFlight[l]
		sums[l] = sum
	}
	return sums, errors.Join(errs...)
}

// read gives each disk of a session with its counters. What goes meanwhile is left out.
func (c *Collector) read(session int, each func(diskID, sysfs.DiskStat)) error {
	disks, err := c.sys.SessionDisks(session)
	if errors.Is(err, sysfs.ErrGone) {
		return nil
	}
	errs := []error{err}
	for _, d := range disks {
		stat, err := c.sys.DiskStat(d.Name)
		if errors.Is(err, sysfs.ErrGone) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		each(diskID{session, d.HCTL, d.Name}, stat)
	}
	return errors.Join(errs...)
}
