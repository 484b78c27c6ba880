package failfast

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/portbind/portbind/pkg/linkwatch"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// TestHostages: san0 is lost. Which sessions are to leave it, and which must stay?
func TestHostages(t *testing.T) {
	up := linkwatch.Link{Index: 11, Name: "san1", Up: true}
	for _, c := range []struct {
		name   string
		change func(f *fakeHost, n nics)
		want   []string
	}{
		{"another path", func(*fakeHost, nics) {}, []string{"1 fails mpath-x 8:16"}},
		{"foreign session on the NIC", func(f *fakeHost, _ nics) {
			f.sessions[3] = session(3, "default", "san0")
			f.maps = append(f.maps, mapView{"mpath-y", []pathView{disk(3), disk(2)}})
		}, []string{"1 fails mpath-x 8:16"}},
		{"foreign session without a NIC is no way out", func(f *fakeHost, _ nics) {
			f.sessions[2] = session(2, "default", "")
		}, []string{"1 stuck mpath-x"}},
		{
			"other NIC has no link", func(_ *fakeHost, n nics) { n.hear(linkwatch.Link{Index: 11, Name: "san1"}, time.Now()) },
			[]string{"1 stuck mpath-x"},
		},
		{"other NIC vanished", func(_ *fakeHost, n nics) { delete(n, 11) }, []string{"1 stuck mpath-x"}},
		{"other path failed", func(f *fakeHost, _ nics) { f.maps[0].paths[1].active = false }, []string{"1 stuck mpath-x"}},
		{"other session lost", func(f *fakeHost, _ nics) {
			f.sessions[2] = sysfs.Session{ID: 2, NIC: "san1", State: sysfs.SessionFailed}
		}, []string{"1 stuck mpath-x"}},
		{"other path not over iSCSI", func(f *fakeHost, _ nics) {
			f.maps[0].paths[1] = pathView{devno: multipath.Devno{Major: 65}, active: true}
		}, []string{"1 fails mpath-x 8:16"}},
		{
			"other path over the same NIC", func(f *fakeHost, _ nics) { f.sessions[2] = session(2, "pb-san-a", "san0") },
			[]string{"1 stuck mpath-x", "2 stuck mpath-x"},
		},
		{"two portals", func(f *fakeHost, _ nics) {
			f.sessions[3] = session(3, "pb-san-a", "san0")
			f.maps[0].paths = append(f.maps[0].paths, disk(3))
		}, []string{"1 fails mpath-x 8:16", "3 fails mpath-x 8:48"}},
		{"a second volume has no other path", func(f *fakeHost, _ nics) {
			f.maps = append(f.maps, mapView{"mpath-y", []pathView{disk(1)}})
		}, []string{"1 fails mpath-x 8:16", "1 stuck mpath-y"}},
		{"no volume", func(f *fakeHost, _ nics) { f.maps = nil }, nil},
		{"lost already", func(f *fakeHost, _ nics) {
			f.sessions[1] = sysfs.Session{ID: 1, NIC: "san0", State: sysfs.SessionFailed}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, n := twoNICs(), nics{11: {Link: up}}
			n.hear(linkwatch.Link{Index: 10, Name: "san0"}, time.Now().Add(-hold))
			c.change(f, n)
			lost, _ := n.lost(time.Now())
			v, err := f.look(nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range hostages(v, n, lost) {
				for _, x := range h.fails {
					got = append(got, fmt.Sprintf("%d fails %s %s", h.ID, x.uuid, x.devno))
				}
				for _, uuid := range h.stuck {
					got = append(got, fmt.Sprintf("%d stuck %s", h.ID, uuid))
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWays: over which sessions can the target be told?
func TestWays(t *testing.T) {
	other := netip.MustParseAddrPort("10.99.0.2:3260")
	all := map[int]sysfs.Session{
		1: session(1, "pb-san-a", "san0"), 2: session(2, "pb-san-b", "san1"), 3: session(3, "pb-san-b", "san1"),
		4: session(4, "default", "san1"), 5: session(5, "pb-san-b", "san1"), 6: session(6, "pb-san-b", "san1"),
		7: session(7, "pb-san-b", "san1"), 8: session(8, "pb-san-a", "san0"),
	}
	change := func(id int, how func(*sysfs.Session)) {
		s := all[id]
		how(&s)
		all[id] = s
	}
	change(2, func(s *sysfs.Session) { s.Portal = other })
	change(5, func(s *sysfs.Session) { s.TPGT = 2 })
	change(6, func(s *sysfs.Session) { s.Target = "iqn.2026-11.io.example:other" })
	change(7, func(s *sysfs.Session) { s.State = sysfs.SessionFailed })
	n := nics{10: {Link: linkwatch.Link{Index: 10, Name: "san0"}}, 11: {Link: linkwatch.Link{Index: 11, Name: "san1", Up: true}}}
	var got []int
	for _, s := range (view{sessions: all}).ways(all[1], n, map[string]nic{"san0": n[10]}) {
		got = append(got, s.ID)
	}
	if diff := cmp.Diff([]int{3, 2}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNICs(t *testing.T) {
	begin := time.Now()
	n := nics{}
	n.hear(linkwatch.Link{Index: 1, Name: "a"}, begin)
	n.hear(linkwatch.Link{Index: 1, Name: "a", Gone: true}, begin.Add(hold/2))
	n.hear(linkwatch.Link{Index: 2, Name: "b"}, begin.Add(hold/2))
	lost, wait := n.lost(begin.Add(hold))
	if _, ok := lost["a"]; !ok || len(lost) != 1 || wait != hold/2 {
		t.Errorf("lost %v, wait %v", lost, wait)
	}
	if lost, _ = n.lost(begin.Add(goneTime)); len(lost) != 1 || len(n) != 1 {
		t.Errorf("lost %v of %v long after one has vanished", lost, n)
	}
}

// gather gives the values of a collector's metrics.
func gather(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			got[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}
