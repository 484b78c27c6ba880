package pathwatch

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Labels of a volume; the last two are those of kubelet's volume metrics.
var volumeLabels = []string{"volume", "namespace", "persistentvolumeclaim"}

// totals are the metrics.
type totals struct {
	expected, working, up *prometheus.Desc
	lost, restored        *prometheus.CounterVec
	outages               prometheus.Counter
}

func newTotals() totals {
	counters := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"interface"})
	}
	return totals{
		expected: prometheus.NewDesc("portbind_volume_paths_expected", "Paths that a staged volume should have.", volumeLabels, nil),
		working:  prometheus.NewDesc("portbind_volume_paths_working", "Expected paths of a staged volume that work.", volumeLabels, nil),
		up: prometheus.NewDesc("portbind_interface_up",
			"Whether a storage interface of this node has a NIC, a link and an address.", []string{"interface"}, nil),
		lost: counters("portbind_redundancy_lost_total",
			"Times that a volume lost paths over an interface over which it had lost none."),
		restored: counters("portbind_redundancy_restored_total",
			"Times that all paths of a volume over an interface worked again."),
		outages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portbind_volume_outages_total", Help: "Times that a volume lost its last path.",
		}),
	}
}

// count adds what a look brought. An interface is counted from zero on, so that its first loss is a rise.
func (t *totals) count(v View, n news) {
	for _, i := range v.Interfaces.Interfaces {
		t.lost.WithLabelValues(i.Name)
		t.restored.WithLabelValues(i.Name)
	}
	for _, p := range v.Interfaces.Problems {
		t.lost.WithLabelValues(p.Interface)
		t.restored.WithLabelValues(p.Interface)
	}
	for _, s := range n.shifts {
		if s.restored {
			t.restored.WithLabelValues(s.iface).Inc()
		} else {
			t.lost.WithLabelValues(s.iface).Inc()
		}
	}
	for _, e := range n.events {
		if e.Reason == AllPathsLost {
			t.outages.Inc()
		}
	}
}

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) {
	ch <- w.expected
	ch <- w.working
	ch <- w.up
	w.lost.Describe(ch)
	w.restored.Describe(ch)
	w.outages.Describe(ch)
}

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	w.lost.Collect(ch)
	w.restored.Collect(ch)
	w.outages.Collect(ch)
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, k := range w.tracker.volumes {
		labels := []string{id, k.volume.Claim.Namespace, k.volume.Claim.Name}
		ch <- prometheus.MustNewConstMetric(w.expected, prometheus.GaugeValue, float64(k.now.expected), labels...)
		ch <- prometheus.MustNewConstMetric(w.working, prometheus.GaugeValue, float64(k.now.working), labels...)
	}
	for name, wrong := range w.tracker.interfaces {
		up := 0.0
		if wrong == "" {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(w.up, prometheus.GaugeValue, up, name)
	}
}
