package nodemetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portbind/portbind/pkg/sysfs"
)

// descs are the metrics but the counter.
type descs struct {
	received, transmitted, linkLosses *prometheus.Desc
	sessionCount                      *prometheus.Desc
	reads, writes                     *prometheus.Desc
	readBytes, writtenBytes           *prometheus.Desc
	readSeconds, writeSeconds         *prometheus.Desc
	inFlight                          *prometheus.Desc
}

func newDescs() descs {
	nic := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("portbind_interface_"+name, help, []string{"interface", "device"}, nil)
	}
	path := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("portbind_path_"+name, help, []string{"interface", "portal"}, nil)
	}
	return descs{
		received:    nic("receive_bytes_total", "Bytes that the NIC of a storage interface received, of whatever traffic."),
		transmitted: nic("transmit_bytes_total", "Bytes that the NIC of a storage interface sent, of whatever traffic."),
		linkLosses:  nic("link_losses_total", "Times that the NIC of a storage interface lost its link since it was made."),
		sessionCount: prometheus.NewDesc("portbind_sessions", "Bound sessions, by interface, portal and state.",
			[]string{"interface", "portal", "state"}, nil),
		reads:        path("reads_total", "Reads that ended on paths over an interface to a portal."),
		writes:       path("writes_total", "Writes that ended on paths over an interface to a portal."),
		readBytes:    path("read_bytes_total", "Bytes read on paths over an interface to a portal."),
		writtenBytes: path("written_bytes_total", "Bytes written on paths over an interface to a portal."),
		readSeconds:  path("read_seconds_total", "Sum of what reads took on paths over an interface to a portal."),
		writeSeconds: path("write_seconds_total", "Sum of what writes took on paths over an interface to a portal."),
		inFlight:     path("io_in_flight", "I/Os under way on paths over an interface to a portal."),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.received, c.transmitted, c.linkLosses, c.sessionCount, c.reads, c.writes, c.readBytes, c.writtenBytes,
		c.readSeconds, c.writeSeconds, c.inFlight,
	} {
		ch <- d
	}
	c.healed.Describe(ch)
}

// emit gives what the disks of one link did.
func (c *Collector) emit(ch chan<- prometheus.Metric, l link, sum sysfs.DiskStat) {
	for d, value := range map[*prometheus.Desc]float64{
		c.reads: float64(sum.Reads), c.writes: float64(sum.Writes),
		c.readBytes: float64(sum.ReadBytes), c.writtenBytes: float64(sum.WriteBytes),
		c.readSeconds: sum.ReadTime.Seconds(), c.writeSeconds: sum.WriteTime.Seconds(),
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, l.iface, l.portal)
	}
	ch <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(sum.InFlight), l.iface, l.portal)
}
