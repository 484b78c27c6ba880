package compliance

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portbind/portbind/pkg/binding"
)

func status(state State) Status {
	s := Status{Interface: "san-a", NIC: "eth2"}
	if state != Compliant {
		s.Findings = []Finding{{state, "it is wrong", "Mend it"}}
	}
	return s
}

func TestEvent(t *testing.T) {
	tests := []struct {
		before, now State
		want        string // beginning of the reason and the message; empty: none
	}{
		{"", Compliant, ""},
		{"", NoNIC, ""},
		{"", ARPFlux, "StorageInterfaceMisconfigured Storage interface san-a (eth2): ARPFlux: it is wrong. Mend it"},
		{Compliant, LinkDown, ""},
		{LinkDown, Compliant, ""},
		{Compliant, NoPortalReachable, "StorageInterfaceMisconfigured Storage interface san-a (eth2): NoPortalReachable"},
		{ARPFlux, Compliant, "StorageInterfaceCompliant Storage interface san-a (eth2) is compliant"},
		{NoIP, Compliant, "StorageInterfaceCompliant Storage interface san-a (eth2) is compliant. Where Kubernetes knows"},
		{"", Drained, "StorageInterfaceDrained Storage interface san-a (eth2) carries no I/O: it is wrong"},
		{Compliant, Drained, "StorageInterfaceDrained Storage interface san-a (eth2)"},
		{Drained, Compliant, "StorageInterfaceUndrained Storage interface san-a (eth2) is to carry I/O again"},
		{Drained, LinkDown, "StorageInterfaceUndrained Storage interface san-a (eth2)"},
		{Drained, ARPFlux, "StorageInterfaceMisconfigured Storage interface san-a (eth2): ARPFlux"},
		{DuplicateNIC, Compliant, "StorageInterfaceCompliant Storage interface san-a (eth2) is compliant. Where Kubernetes knows"},
	}
	for _, tt := range tests {
		var before *Status
		if tt.before != "" {
			s := status(tt.before)
			before = &s
		}
		e, told := event(before, status(tt.now))
		if got := e.Reason + " " + e.Message; told != (tt.want != "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s to %s: %v %q", tt.before, tt.now, told, got)
		}
		if told && e.Warning != (e.Reason == Misconfigured) {
			t.Errorf("%s to %s: %+v", tt.before, tt.now, e)
		}
	}
}

// proc is a procfs with the settings of some NICs.
func proc(t *testing.T, settings map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, value := range settings {
		file := filepath.Join(dir, "sys/net/ipv4/conf", path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(value+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSysctlsInForce(t *testing.T) {
	n := Node{Proc: proc(t, map[string]string{
		"all/rp_filter": "1", "all/arp_ignore": "0", "all/arp_announce": "2", "all/arp_filter": "0",
		"eth2/rp_filter": "2", "eth2/arp_ignore": "1", "eth2/arp_announce": "0", "eth2/arp_filter": "1",
	})}
	got, err := n.sysctls("eth2")
	if err != nil || got != (Sysctls{2, 1, 2, 1}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := n.sysctls("eth3"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a NIC that has gone: %v", err)
	}
}

// A change of the node is seen at once, told once, and is in the metric.
func TestWatcher(t *testing.T) {
	var mu sync.Mutex
	mtu := 9000
	set := func(to int) { mu.Lock(); defer mu.Unlock(); mtu = to }
	events := make(chan Event, 10)
	w := New(Config{
		Node: Node{Proc: t.TempDir(), Interfaces: func() (binding.Resolution, error) {
			mu.Lock()
			defer mu.Unlock()
			s := good()
			s.configure(func(nics []binding.NIC) {
				nics[1].Addrs, nics[2].Addrs = prefixes("2001:db8:1::11/64"), prefixes("2001:db8:1::12/64")
				nics[1].MTU = mtu
			})
			return s.Interfaces, nil
		}},
		Tell: func(e Event) { events <- e },
	})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	w.look(ctx)
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	for _, step := range []struct {
		mtu    int
		reason string
	}{{1500, Misconfigured}, {9000, Well}} {
		set(step.mtu)
		w.Poke()
		w.Poke()
		select {
		case e := <-events:
			if e.Reason != step.reason {
				t.Errorf("got %+v", e)
			}
		case <-ctx.Done():
			t.Fatal("not told")
		}
	}
	cancel()
	<-done
	if len(events) > 0 {
		t.Errorf("told again: %+v", <-events)
	}
	if got := testutil.CollectAndCount(w); got != 2*len(States()) {
		t.Errorf("%d series", got)
	}
	if problems, err := testutil.CollectAndLint(w); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestRetry(t *testing.T) {
	both, a, b := map[string]string{"a": "", "b": ""}, map[string]string{"a": ""}, map[string]string{"b": ""}
	var r retry
	for i, step := range []struct {
		unreachable map[string]string
		want        time.Duration
	}{
		{nil, sweep}, {a, soon}, {a, 2 * soon}, {nil, sweep}, {a, soon}, {a, 2 * soon}, {a, 4 * soon}, // one
		{both, soon}, {both, 2 * soon}, {a, 4 * soon}, {b, soon}, {map[string]string{}, sweep}, // another
	} {
		if got := r.after(step.unreachable); got != step.want {
			t.Errorf("%d: %v after %v, want %v", i, step.unreachable, got, step.want)
		}
	}
}

// A portal that was out of reach for a short time is found again soon after; one that stays away is tried less and less often.
func TestWatcherTriesAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var tried []time.Duration
		events := make(chan Event, 10)
		var up atomic.Bool
		w := New(Config{
			Node: Node{
				Proc: t.TempDir(), Interfaces: func() (binding.Resolution, error) {
					s := good()
					s.configure(func(nics []binding.NIC) { nics[1].Addrs, nics[2].Addrs = prefixes("2001:db8:1::11/64"), nil })
					return s.Interfaces, nil
				},
				Demands: func(context.Context) ([]Demand, error) {
					return []Demand{{Portals: portals("[2001:db8:1::1]:3260")}}, nil
				},
			},
			Tell: func(e Event) { events <- e },
		})
		w.probe.dial = func(context.Context, string, netip.AddrPort) error {
			tried = append(tried, time.Since(begin))
			if up.Load() {
				return nil
			}
			return errors.New("no answer")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		<-time.After(100 * time.Second)
		w.Poke()
		<-time.After(3 * time.Second)
		up.Store(true)
		<-time.After(9 * time.Minute) // a success is kept
		cancel()
		<-done
		var want []time.Duration
		for _, seconds := range []float64{0, 1, 3, 7, 15, 31, 61, 91, 100.5, 101.5, 103.5} {
			want = append(want, time.Duration(seconds*float64(time.Second)))
		}
		if diff := cmp.Diff(want, tried); diff != "" {
			t.Error(diff)
		}
		if len(events) != 2 || (<-events).Reason != Misconfigured || (<-events).Reason != Well {
			t.Error("not told once each")
		}
	})
}

// Portals are tried only where no session says that they are reached.
func TestProbe(t *testing.T) {
	var mu sync.Mutex
	var tried []string
	bad := errors.New("no answer")
	p := newProber()
	p.dial = func(_ context.Context, nic string, portal netip.AddrPort) error {
		mu.Lock()
		defer mu.Unlock()
		tried = append(tried, nic)
		if nic == "eth2" && portal.Addr() == netip.MustParseAddr("192.0.2.2") {
			return nil
		}
		return bad
	}
	look := func(s Snapshot) (states string) {
		mu.Lock()
		tried = nil
		mu.Unlock()
		s.Unreachable = map[string]string{}
		p.probe(context.Background(), &s)
		for _, status := range Evaluate(s) {
			states += string(status.State()) + " "
		}
		return states
	}
	s := good()
	s.Demands[0].Volume = false
	if got := look(s); got != "Compliant NoPortalReachable " {
		t.Errorf("got %s, tried %v", got, tried)
	}
	// A success is kept, a failure tried again.
	if got := look(s); got != "Compliant NoPortalReachable " || cmp.Diff([]string{"eth3.7", "eth3.7"}, tried) != "" {
		t.Errorf("got %s, tried %v", got, tried)
	}
	s.Demands[0].Sessions = []Session{{"san-b", s.Demands[0].Portals[0]}}
	if got := look(s); got != "Compliant Compliant " || len(tried) > 0 {
		t.Errorf("got %s, tried %v", got, tried)
	}
	// A volume's interface without a session is in doubt whatever was seen before.
	s.Demands[0].Volume = true
	if got := look(s); got != "Compliant Compliant " || len(tried) == 0 {
		t.Errorf("got %s, tried %v", got, tried)
	}
}
