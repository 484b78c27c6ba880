package failfast

import "github.com/prometheus/client_golang/prometheus"

// totals are the metrics.
type totals struct {
	sessions *prometheus.CounterVec
	method   *prometheus.GaugeVec
}

// methodOff as a method: it is not wanted.
const methodOff = "off"

func newTotals() totals {
	return totals{
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "portbind_failfast_sessions_total", Help: "Sessions whose NIC lost its link, by what was done about it.",
		}, []string{"interface", "outcome"}),
		method: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "portbind_failfast_method", Help: "1 for the way in which the connections of a lost link are ended on this node.",
		}, []string{"method"}),
	}
}

// report sets the method, in place of the one before.
func (t totals) report(method string) {
	t.method.Reset()
	t.method.WithLabelValues(method).Set(1)
}

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) {
	w.sessions.Describe(ch)
	w.method.Describe(ch)
}

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	w.sessions.Collect(ch)
	w.method.Collect(ch)
}
