package clusterview

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/portbind/portbind/pkg/view"
)

func TestPlugins(t *testing.T) {
	other := pod("other", ofNodes, "node1", func(p *corev1.Pod) { p.Spec.Containers[0].Name = "agent" })
	elsewhere := pod("elsewhere", ofNodes, "node9", func(p *corev1.Pod) { p.Namespace = "kube-system" })
	c, _ := newCluster(nil,
		pod("d", ofNodes, "node2", of(time.Hour), terminating), pod("e", ofNodes, "node2", crashing),
		pod("b", ofNodes, "node1", of(time.Hour)), pod("c", ofNodes, "node1", of(time.Minute)), pod("a", ofNodes, "node1", of(time.Second), terminating),
		pod("f", ofNodes, "", unschedulable("node3")), pod("g", controller, "node1"), other, elsewhere,
	)
	all, silent, err := c.Plugins(t.Context(), nil)
	check(t, err)
	got := map[string]string{}
	for _, p := range all {
		got[p.Node] = p.Pod.Name
	}
	if diff := cmp.Diff(map[string]string{"node1": "c", "node2": "d", "node3": "f"}, got); diff != "" || len(silent) > 0 {
		t.Error(diff, silent)
	}
	some, silent, err := c.Plugins(t.Context(), []string{"node3", "node4"})
	check(t, err)
	if len(some) != 1 || some[0].Node != "node3" || len(silent) != 1 || silent[0].Node != "node4" || !errors.Is(silent[0], ErrNoPlugin) {
		t.Errorf("%v, %v", some, silent)
	}
	c.Namespace = "default"
	if _, _, err := c.Plugins(t.Context(), nil); !errors.Is(err, ErrNoPlugin) || !strings.Contains(err.Error(), "namespace default") {
		t.Errorf("got %v", err)
	}
}

// Rows of all nodes that answer are there in the nodes' order; of each other one it is said why not.
func TestRows(t *testing.T) {
	c, _ := newCluster(
		fakeExec{
			"p1 sessions -o json": {out: `[{"id":2,"state":"LOGGED_IN","new":"field"},{"id":1,"state":"FREE"}]`},
			"p2 sessions -o json": {out: `[{"id":7,"state":"LOGGED_IN"}]`},
			"p3 sessions -o json": {errOut: "warning: slow\nE1123 node.yaml: no such file\n", status: 1},
			"p4 sessions -o json": {hangs: true},
			"p6 sessions -o json": {out: `half [`},
			"p7 sessions -o json": {out: `[]`},
		},
		pod("p7", ofNodes, "node7"), pod("p6", ofNodes, "node6"), pod("p5", ofNodes, "node5", crashing), pod("p4", ofNodes, "node4"),
		pod("p3", ofNodes, "node3"), pod("p2", ofNodes, "node2"), pod("p1", ofNodes, "node1"),
	)
	c.Timeout = 100 * time.Millisecond
	rows, silent, err := Rows[view.Session](t.Context(), c, "sessions", nil)
	check(t, err)
	want := []view.Session{
		{Place: view.Place{Node: "node1"}, ID: 2, State: "LOGGED_IN"},
		{Place: view.Place{Node: "node1"}, ID: 1, State: "FREE"},
		{Place: view.Place{Node: "node2"}, ID: 7, State: "LOGGED_IN"},
	}
	if diff := cmp.Diff(want, rows, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	var said []string
	for _, s := range silent {
		said = append(said, s.Error())
	}
	wantSaid := []string{
		"node node3: no answer: exit status 1: E1123 node.yaml: no such file",
		"node node4: no answer: it took longer than 100ms",
		"node node5: no answer: its container waits: CrashLoopBackOff: back-off 5m0s",
		"node node6: no answer: it does not make sense: invalid character 'h' looking for beginning of value",
	}
	if diff := cmp.Diff(wantSaid, said); diff != "" {
		t.Error(diff)
	}
}

// Interfaces are dated by their nodes, or else by their answers.
func TestSampleTimes(t *testing.T) {
	c, _ := newCluster(
		fakeExec{"p1 interfaces -o json": {out: `[{"name":"a"},{"name":"b","sampledAt":"2026-11-23T00:00:00Z"}]`}}, pod("p1", ofNodes, "node1"),
	)
	rows, _, err := Rows[view.Interface](t.Context(), c, "interfaces", nil)
	check(t, err)
	if age := time.Since(rows[0].SampledAt); age < 0 || age > time.Minute {
		t.Errorf("%s old", age)
	}
	if rows[1].SampledAt.Format(time.DateOnly) != "2026-11-23" {
		t.Errorf("at %s", rows[1].SampledAt)
	}
}

func TestRates(t *testing.T) {
	then := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		before, now view.Interface
		want        *float64
	}{
		"2000 bytes in 2 s":  {view.Interface{NIC: "eth2", RxBytes: 1000}, view.Interface{NIC: "eth2", RxBytes: 3000}, new(1000.0)},
		"nothing":            {view.Interface{NIC: "eth2", RxBytes: 1000}, view.Interface{NIC: "eth2", RxBytes: 1000}, new(0.0)},
		"the node rebooted":  {view.Interface{NIC: "eth2", RxBytes: 1000}, view.Interface{NIC: "eth2", RxBytes: 10}, nil},
		"another NIC":        {view.Interface{NIC: "eth2", RxBytes: 1000}, view.Interface{NIC: "eth3", RxBytes: 3000}, nil},
		"on another node":    {view.Interface{Place: view.Place{Node: "n"}, NIC: "eth2"}, view.Interface{NIC: "eth2", RxBytes: 3000}, nil},
		"no NIC":             {view.Interface{}, view.Interface{}, nil},
		"the clock was set":  {view.Interface{NIC: "eth2"}, view.Interface{NIC: "eth2", SampledAt: then.Add(-time.Hour)}, nil},
		"looked at only now": {view.Interface{Name: "other"}, view.Interface{NIC: "eth2"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.before.SampledAt = then
			if test.now.SampledAt.IsZero() {
				test.now.SampledAt = then.Add(2 * time.Second)
			}
			now := []view.Interface{test.now}
			Rates([]view.Interface{test.before}, now)
			if diff := cmp.Diff(test.want, now[0].RxRate); diff != "" {
				t.Error(diff)
			}
		})
	}
}
