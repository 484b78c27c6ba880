package pathwatch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portbind/portbind/pkg/volume"
)

// fake is a node that changes while it is watched.
type fake struct {
	mu     sync.Mutex
	view   View
	err    error
	looks  []time.Duration
	begin  time.Time
	events []string
}

func (f *fake) set(v View, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view, f.err = v, err
}

func (f *fake) watch(t *testing.T) *Watcher {
	t.Helper()
	f.begin = time.Now()
	w := New(Config{
		Node: "n1",
		View: func(context.Context) (View, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.looks = append(f.looks, time.Since(f.begin))
			return f.view, f.err
		},
		Tell: func(e Event) { f.events = append(f.events, e.Reason) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// pass lets the bubble's time go by, and what was to happen by then.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestWatcherLooksOnceItIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{view: view(node(sanA, sanB), vol(all()...))}
		w := f.watch(t)
		synctest.Wait()
		pass(10 * time.Second)
		f.set(view(node(sanA, down(sanB)), vol(all()...)), nil)
		for range 4 { // one NIC, two paths, the addresses
			w.Poke()
			pass(200 * time.Millisecond)
		}
		pass(time.Minute)
		want := []time.Duration{0, 11600 * time.Millisecond, 41600 * time.Millisecond}
		if !slices.Equal(f.looks, want) {
			t.Errorf("looked after %v, want %v", f.looks, want)
		}
		if !slices.Equal(f.events, []string{InterfaceDown, RedundancyLost}) {
			t.Errorf("told %v", f.events)
		}
	})
}

// TestWatcherLooksAgain lets nothing happen after a volume was staged, and after its paths were back.
func TestWatcherLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{view: view(node(sanA, sanB))}
		w := f.watch(t)
		synctest.Wait()
		f.set(view(node(sanA, sanB), vol(all()[:2]...)), nil)
		w.Poke()
		pass(12 * time.Second)
		f.set(view(node(sanA, sanB), vol(all()...)), nil)
		w.Poke()
		pass(7 * time.Second)
		want := []time.Duration{0, time.Second, 11 * time.Second, 13 * time.Second, 18 * time.Second}
		if !slices.Equal(f.looks, want) || !slices.Equal(f.events, []string{RedundancyLost, RedundancyRestored}) {
			t.Errorf("looked after %v, told %v", f.looks, f.events)
		}
	})
}

func TestWatcherLosesPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{view: view(node(sanA, sanB))}
		w := f.watch(t)
		for range 24 { // 12 s without a quiet second
			w.Poke()
			pass(500 * time.Millisecond)
		}
		synctest.Wait()
		if len(f.looks) < 3 || f.looks[1] > 6*time.Second {
			t.Errorf("looked after %v", f.looks)
		}
	})
}

func TestWatcherOutlivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{err: errors.New("no netlink today")}
		f.watch(t)
		synctest.Wait()
		f.set(view(node(sanA, down(sanB)), vol(all()...)), nil)
		pass(31 * time.Second)
		if !slices.Equal(f.events, []string{InterfaceDown, RedundancyLost}) {
			t.Errorf("told %v", f.events)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vol(all()...)
		v.Claim = volume.Claim{Namespace: "shop", Name: "data"}
		f := &fake{view: view(node(sanA, down(sanB)), v)}
		w := f.watch(t)
		synctest.Wait()
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(w)
		check := func(want string) {
			t.Helper()
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
				t.Error(err)
			}
		}
		check(metrics("0", "2", "0", "1", "0"))
		f.set(view(node(sanA, sanB), v), nil)
		pass(36 * time.Second)
		check(metrics("1", "4", "0", "1", "1"))
		f.set(view(node(down(sanA), down(sanB)), v), nil)
		pass(31 * time.Second)
		check(strings.ReplaceAll(strings.ReplaceAll(metrics("0", "0", "1", "2", "1"),
			`up{interface="san-a"} 1`, `up{interface="san-a"} 0`), `lost_total{interface="san-a"} 0`, `lost_total{interface="san-a"} 1`))
	})
}

// metrics is the exposition with what changes; san-a is well in it.
func metrics(up, working, outages, lost, restored string) string {
	return `
# HELP portbind_interface_up Whether a storage interface of this node has a NIC, a link and an address.
# TYPE portbind_interface_up gauge
portbind_interface_up{interface="san-a"} 1
portbind_interface_up{interface="san-b"} ` + up + `
# HELP portbind_redundancy_lost_total Times that a volume lost paths over an interface over which it had lost none.
# TYPE portbind_redundancy_lost_total counter
portbind_redundancy_lost_total{interface="san-a"} 0
portbind_redundancy_lost_total{interface="san-b"} ` + lost + `
# HELP portbind_redundancy_restored_total Times that all paths of a volume over an interface worked again.
# TYPE portbind_redundancy_restored_total counter
portbind_redundancy_restored_total{interface="san-a"} 0
portbind_redundancy_restored_total{interface="san-b"} ` + restored + `
# HELP portbind_volume_outages_total Times that a volume lost its last path.
# TYPE portbind_volume_outages_total counter
portbind_volume_outages_total ` + outages + `
# HELP portbind_volume_paths_expected Paths that a staged volume should have.
# TYPE portbind_volume_paths_expected gauge
portbind_volume_paths_expected{namespace="shop",persistentvolumeclaim="data",volume="t/p/v"} 4
# HELP portbind_volume_paths_working Expected paths of a staged volume that work.
# TYPE portbind_volume_paths_working gauge
portbind_volume_paths_working{namespace="shop",persistentvolumeclaim="data",volume="t/p/v"} ` + working + `
`
}
