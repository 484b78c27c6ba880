package server

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
)

// scrapeTimeout bounds what a scrape asks LVM.
const scrapeTimeout = 5 * time.Second

// Metrics counts calls, and reads the rest when it is asked for.
type Metrics struct {
	server *Server
	ctx    func() context.Context
	calls  *prometheus.HistogramVec
	gauges map[string]*prometheus.Desc
	// restores is by outcome.
	restores *prometheus.Desc
}

// gauge names, each with its help text and labels.
var gauges = []struct{ name, help, labels string }{
	{"pool_total_bytes", "Size of the pool's data space.", "pool"},
	{"pool_free_bytes", "Data space not yet allocated.", "pool"},
	{"pool_provisioned_bytes", "Sum of the virtual sizes of all volumes.", "pool"},
	{"pool_metadata_used_ratio", "Used fraction of the pool's metadata, 0 to 1.", "pool"},
	{"vg_metadata_used_ratio", "Used fraction of the volume group's metadata area, 0 to 1.", "pool"},
	{"pool_problem", "1 for each problem that the pool has, by its reason.", "pool reason"},
	{"volumes", "Volumes in the pool.", "pool"},
	{"snapshots", "Snapshots in the pool.", "pool"},
	{"exports", "Volumes published to initiators, each initiator counted.", ""},
	{"exports_failed", "Exports that are recorded and could not be restored.", ""},
	{"luns", "LUNs of the target in the kernel.", ""},
	{"sessions", "iSCSI sessions of the target.", ""},
	{"initiator_exports", "Volumes published to an initiator.", "initiator"},
	{"initiator_logged_in", "1 when an initiator that may log in has a session.", "initiator"},
}

const namespace = "portbind_targetd_"

// NewMetrics registers the server's metrics. ctx carries the logger for scrapes.
func (s *Server) NewMetrics(ctx context.Context, reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		server: s, ctx: func() context.Context { return ctx },
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    namespace + "call_duration_seconds",
			Help:    "Duration of API calls by method and gRPC code.",
			Buckets: []float64{0.005, 0.02, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60},
		}, []string{"method", "code"}),
		gauges: map[string]*prometheus.Desc{},
		restores: prometheus.NewDesc(namespace+"restores_total",
			"Exports that the kernel did not have as the database says, by whether it could be mended.", []string{"outcome"}, nil),
	}
	for _, g := range gauges {
		m.gauges[g.name] = prometheus.NewDesc(namespace+g.name, g.help, strings.Fields(g.labels), nil)
	}
	if err := reg.Register(m.calls); err != nil {
		return nil, err
	}
	return m, reg.Register(m)
}

func (m *Metrics) observe(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	start := time.Now()
	resp, err := next(ctx, req)
	m.calls.WithLabelValues(method(info), status.Code(err).String()).Observe(time.Since(start).Seconds())
	return resp, err
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.gauges {
		ch <- d
	}
	ch <- m.restores
}

// Collect implements prometheus.Collector. What cannot be read is left out and logged.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(m.ctx(), scrapeTimeout)
	defer cancel()
	put := func(name string, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.gauges[name], prometheus.GaugeValue, value, labels...)
	}
	for _, name := range m.server.poolNames() {
		if err := m.pool(ctx, name, put); err != nil {
			klog.FromContext(ctx).Error(err, "Metrics of a pool are missing", "pool", name)
		}
	}
	exports, failed := m.server.counts()
	put("exports", float64(exports))
	put("exports_failed", float64(failed))
	if luns, err := m.server.lio.LUNs(); err == nil {
		put("luns", float64(luns))
	}
	if sessions, err := m.server.lio.Sessions(); err == nil {
		put("sessions", float64(sessions))
	}
	m.initiators(ctx, put)
	for outcome, n := range map[string]int64{"mended": m.server.restored.Load(), "failed": m.server.unrestored.Load()} {
		ch <- prometheus.MustNewConstMetric(m.restores, prometheus.CounterValue, float64(n), outcome)
	}
}

// initiators are those that have an ACL, which goes soon after the last volume and session.
func (m *Metrics) initiators(ctx context.Context, put func(string, float64, ...string)) {
	names, err := m.server.lio.Initiators()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Metrics of initiators are missing")
		return
	}
	exports := map[string]int{}
	for _, e := range m.server.allExports() {
		exports[e.Initiator]++
	}
	for _, name := range names {
		in, err := m.server.lio.LoggedIn(name)
		if err != nil {
			continue // its ACL has just gone
		}
		put("initiator_exports", float64(exports[name]), name)
		logged := 0.0
		if in {
			logged = 1
		}
		put("initiator_logged_in", logged, name)
	}
}

func (m *Metrics) pool(ctx context.Context, name string, put func(string, float64, ...string)) error {
	d := m.server.pools[name]
	u, err := d.Usage(ctx)
	if err != nil {
		return err
	}
	volumes, err := d.Volumes(ctx)
	if err != nil {
		return err
	}
	snaps, err := d.Snapshots(ctx)
	if err != nil {
		return err
	}
	problems, err := d.Problems(ctx)
	if err != nil {
		return err
	}
	for _, p := range problems {
		put("pool_problem", 1, name, p.Reason)
	}
	put("pool_total_bytes", float64(u.Total), name)
	put("pool_free_bytes", float64(u.Free), name)
	put("pool_provisioned_bytes", float64(u.Provisioned), name)
	put("pool_metadata_used_ratio", u.MetadataUsed, name)
	put("vg_metadata_used_ratio", u.VGMetadataUsed, name)
	put("volumes", float64(len(volumes)), name)
	put("snapshots", float64(len(snaps)), name)
	return nil
}

// counts gives the number of exports, and of those that could not be restored.
func (s *Server) counts() (exports, failed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.exports), len(s.failed)
}
