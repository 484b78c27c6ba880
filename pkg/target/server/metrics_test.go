package server

import (
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portbind/portbind/pkg/target/pool"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

func TestMetricsOfInitiatorsAndRestores(t *testing.T) {
	r := newRig(t)
	reg := prometheus.NewPedanticRegistry()
	if _, err := r.NewMetrics(t.Context(), reg); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"v", "w"} {
		r.create(name)
		r.publish(&targetv1.PublishRequest{Key: vol(name), Initiator: nodeA})
	}
	r.publish(&targetv1.PublishRequest{Key: vol("w"), Initiator: nodeB, Shared: true})
	r.tree.SetSession(iqn, nodeA, true)
	r.pool.problems = []pool.Problem{{Severity: pool.Degraded, Reason: "ThinPoolDataNearlyFull"}}
	if err := errors.Join(r.tree.Unlink("iscsi/"+iqn+"/tpgt_1/acls/"+nodeB+"/lun_1/link"),
		r.tree.Rmdir("iscsi/"+iqn+"/tpgt_1/acls/"+nodeB+"/lun_1")); err != nil {
		t.Fatal(err)
	}
	r.retryFailed(t.Context())
	r.retryFailed(t.Context())
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP portbind_targetd_initiator_exports Volumes published to an initiator.
# TYPE portbind_targetd_initiator_exports gauge
portbind_targetd_initiator_exports{initiator="iqn.2026-11.io.example:a"} 2
portbind_targetd_initiator_exports{initiator="iqn.2026-11.io.example:b"} 1
# HELP portbind_targetd_initiator_logged_in 1 when an initiator that may log in has a session.
# TYPE portbind_targetd_initiator_logged_in gauge
portbind_targetd_initiator_logged_in{initiator="iqn.2026-11.io.example:a"} 1
portbind_targetd_initiator_logged_in{initiator="iqn.2026-11.io.example:b"} 0
# HELP portbind_targetd_pool_problem 1 for each problem that the pool has, by its reason.
# TYPE portbind_targetd_pool_problem gauge
portbind_targetd_pool_problem{pool="fast",reason="ThinPoolDataNearlyFull"} 1
# HELP portbind_targetd_restores_total Exports that the kernel did not have as the database says, by whether it could be mended.
# TYPE portbind_targetd_restores_total counter
portbind_targetd_restores_total{outcome="failed"} 0
portbind_targetd_restores_total{outcome="mended"} 1
`), "portbind_targetd_initiator_exports", "portbind_targetd_initiator_logged_in", "portbind_targetd_pool_problem",
		"portbind_targetd_restores_total")
	if err != nil {
		t.Error(err)
	}
}
