package failfast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/failfast/tcpcut"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/linkwatch"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
)

// fakeHost is a machine with sessions and maps. It says what is done to it.
type fakeHost struct {
	mu       sync.Mutex
	sessions map[int]sysfs.Session
	maps     []mapView
	cutErr   error
	endErr   error
	// iscsid is its version, isids what the kernel says.
	iscsid string
	isids  map[int]iscsi.ISID
	did    []string
}

func (f *fakeHost) look([]string) (view, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := view{sessions: maps.Clone(f.sessions)}
	for _, m := range f.maps {
		v.maps = append(v.maps, mapView{m.uuid, slices.Clone(m.paths)})
	}
	return v, nil
}

func (f *fakeHost) session(id int) (sysfs.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.sessions[id]
	if !ok {
		return s, sysfs.ErrGone
	}
	return s, nil
}

func (f *fakeHost) version(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.iscsid == "" {
		return "", iscsi.ErrNotReady
	}
	return f.iscsid, nil
}

func (f *fakeHost) isid(session int) (iscsi.ISID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.isids[session], nil
}

func (f *fakeHost) setRecovery(session, seconds int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[session]
	if !s.LoggedIn() {
		return unix.EBUSY
	}
	s.RecoveryTimeout = seconds
	f.sessions[session] = s
	f.did = append(f.did, fmt.Sprintf("recovery %d %d", session, seconds))
	return nil
}

func (f *fakeHost) end(_ context.Context, session, over sysfs.Session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf("end %d over %d", session.ID, over.ID))
	return f.endErr
}

func (f *fakeHost) cut(session, device int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf("cut %d on %d", session, device))
	if f.cutErr != nil {
		return f.cutErr
	}
	s := f.sessions[session]
	s.State = sysfs.SessionFailed
	f.sessions[session] = s
	return nil
}

func (f *fakeHost) failPath(uuid string, disk multipath.Devno) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, fmt.Sprintf("fail %s %s", uuid, disk))
	return nil
}

// login makes a session whole again.
func (f *fakeHost) login(ids ...int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		s := f.sessions[id]
		s.State = sysfs.SessionLoggedIn
		f.sessions[id] = s
	}
}

// done says what was done since it was last asked.
func (f *fakeHost) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	did := f.did
	f.did = nil
	return did
}

func session(id int, iface, nic string) sysfs.Session {
	return sysfs.Session{
		ID: id, Host: id, Target: "iqn.2026-11.io.example:t1", TPGT: 1, Iface: iface, NIC: nic, State: sysfs.SessionLoggedIn,
		RecoveryTimeout: 1, Portal: netip.MustParseAddrPort("10.99.0.1:3260"),
	}
}

func disk(session int) pathView {
	return pathView{devno: multipath.Devno{Major: 8, Minor: uint32(16 * session)}, active: true, session: session, iscsi: true} //nolint:gosec // small
}

// twoNICs is a machine with a volume over sessions 1 (san0, device 10) and 2 (san1, device 11).
func twoNICs() *fakeHost {
	return &fakeHost{
		sessions: map[int]sysfs.Session{1: session(1, "pb-san-a", "san0"), 2: session(2, "pb-san-b", "san1")},
		maps:     []mapView{{"mpath-x", []pathView{disk(1), disk(2)}}},
		iscsid:   "2.1.8",
	}
}

// left is what is done about twoNICs when san0 is lost.
var left = []string{"fail mpath-x 8:16", "end 1 over 2", "recovery 1 0", "cut 1 on 10"}

// rig is a Watcher at work in a bubble of time.
type rig struct {
	t     *testing.T
	f     *fakeHost
	w     *Watcher
	links chan linkwatch.Link
	stop  context.CancelFunc
}

func start(t *testing.T, f *fakeHost, c Config) *rig {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := &rig{t: t, f: f, w: newWatcher(f, c, tcpcut.SockDestroy), links: make(chan linkwatch.Link), stop: stop}
	if err := r.w.saved.load(); err != nil {
		t.Fatal(err)
	}
	if !c.Off {
		go r.w.learn(ctx)
	}
	go r.w.loop(ctx, r.links)
	r.link("san0", true)
	r.link("san1", true)
	synctest.Wait()
	return r
}

func config(t *testing.T) Config {
	t.Helper()
	return Config{StateFile: filepath.Join(t.TempDir(), "recovery.json"), BootID: "boot-1"}
}

func (r *rig) link(nic string, up bool) {
	r.links <- linkwatch.Link{Index: map[string]int{"san0": 10, "san1": 11}[nic], Name: nic, Up: up}
}

// after checks what was done in a while.
func (r *rig) after(d time.Duration, want ...string) {
	r.t.Helper()
	<-time.After(d)
	synctest.Wait()
	if diff := cmp.Diff(want, r.f.done()); diff != "" {
		r.t.Error(diff)
	}
}

func TestLinkLostAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, twoNICs(), config(t))
		defer r.stop()
		r.link("san0", false)
		r.after(hold - time.Millisecond)
		r.after(time.Millisecond, left...)
		r.after(time.Hour)
		r.link("san0", true)
		r.after(time.Minute) // not logged in yet
		r.f.login(1)
		r.after(retry, "recovery 1 1")
		r.after(time.Hour)
		r.link("san0", false)
		r.after(hold, left...)
	})
}

func TestBlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, twoNICs(), config(t))
		defer r.stop()
		for range 100 {
			r.link("san0", false)
			r.after(hold / 2)
			r.link("san0", true)
			r.after(hold / 2)
		}
	})
}

// TestFlap: a NIC that is never up for long enough for a login is acted upon once.
func TestFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, twoNICs(), config(t))
		defer r.stop()
		r.link("san0", false)
		r.after(hold, left...)
		for range 100 {
			r.link("san0", true)
			r.after(3 * hold)
			r.link("san0", false)
			r.after(3 * hold)
		}
	})
}

// TestBothLost: nothing is done while there is nowhere to go, and it is made up for when there is.
func TestBothLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, twoNICs(), config(t))
		defer r.stop()
		r.link("san0", false)
		r.after(hold / 2)
		r.link("san1", false)
		r.after(3 * time.Second)
		r.link("san1", true)
		r.after(retry, left...)
	})
}

// TestSharedWithLastPath: one map over the session has no other path, so that only the other one's is taken off it.
func TestSharedWithLastPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoNICs()
		f.maps = append(f.maps, mapView{"mpath-y", []pathView{disk(1)}})
		r := start(t, f, config(t))
		defer r.stop()
		r.link("san0", false)
		r.after(3*time.Second, "fail mpath-x 8:16")
	})
}

// TestKernelCannot: what helps without ending the connection is done once, and undone.
func TestKernelCannot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoNICs()
		f.cutErr = tcpcut.ErrUnsupported
		r := start(t, f, config(t))
		defer r.stop()
		r.link("san0", false)
		r.after(2*time.Second, left...)
		r.link("san0", true)
		r.after(retry, "recovery 1 1")
	})
}

// TestReplacedNIC: the session may be on the new NIC of that name already.
func TestReplacedNIC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, twoNICs(), config(t))
		defer r.stop()
		r.links <- linkwatch.Link{Index: 10, Name: "san0", Gone: true}
		r.links <- linkwatch.Link{Index: 20, Name: "san0", Up: true}
		r.after(time.Hour)
	})
}

// TestUnconfirmed: what the target has not ended is left to its timers, and asked for again as long as they run.
func TestUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoNICs()
		f.endErr = errors.New("no answer")
		r := start(t, f, config(t))
		defer r.stop()
		r.link("san0", false)
		r.after(hold, left[:2]...)
		r.after(retry, left[:2]...)
		f.mu.Lock()
		f.endErr = nil
		f.mu.Unlock()
		r.after(retry, left...)
		r.after(time.Hour)
	})
}

// TestNoWay: the other session leads elsewhere.
func TestNoWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoNICs()
		s := f.sessions[2]
		s.TPGT = 2
		f.sessions[2] = s
		r := start(t, f, config(t))
		defer r.stop()
		r.link("san0", false)
		r.after(hold, left[0])
	})
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*fakeHost, *Config)
		want   []string
	}{
		{"same boot", func(*fakeHost, *Config) {}, []string{"recovery 1 1"}},
		{"another boot", func(_ *fakeHost, c *Config) { c.BootID = "boot-2" }, nil},
		{"another session of that number", func(f *fakeHost, _ *Config) {
			s := f.sessions[1]
			s.Target = "iqn.2026-11.io.example:other"
			f.sessions[1] = s
		}, nil},
		{"session logged out", func(f *fakeHost, _ *Config) { delete(f.sessions, 1) }, nil},
		{"multipathd wrote it", func(f *fakeHost, _ *Config) {
			s := f.sessions[1]
			s.RecoveryTimeout = 5
			f.sessions[1] = s
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			synctest.Test(t, func(t *testing.T) {
				f := twoNICs()
				r := start(t, f, cfg)
				r.link("san0", false)
				r.after(hold, left...)
				r.stop() // as if killed: nothing is put right
				synctest.Wait()
				f.login(1)
				c.change(f, &cfg)
				r = start(t, f, cfg)
				defer r.stop()
				r.after(time.Second, c.want...)
			})
		})
	}
}

// TestCannotRemember: without a place to remember the recovery time it stays.
func TestCannotRemember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.StateFile = filepath.Join(cfg.StateFile, "nowhere")
		if err := os.WriteFile(filepath.Dir(cfg.StateFile), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		f := twoNICs()
		r := &rig{t: t, f: f, w: newWatcher(f, cfg, tcpcut.SockDestroy), links: make(chan linkwatch.Link)}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		r.w.learn(ctx)
		go r.w.loop(ctx, r.links)
		r.link("san1", true)
		r.link("san0", false)
		r.after(hold, left[0], left[1], left[3])
	})
}

// TestMetrics: each session is counted once in a loss.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, twoNICs(), config(t))
		r.link("san0", false)
		<-time.After(time.Minute)
		r.link("san1", false)
		<-time.After(time.Minute)
		r.stop()
		synctest.Wait()
		if diff := cmp.Diff(map[string]float64{
			`portbind_failfast_method{method="sock_destroy"}`:                      1,
			`portbind_failfast_sessions_total{interface="san-a",outcome="cut"}`:    1,
			`portbind_failfast_sessions_total{interface="san-b",outcome="spared"}`: 1,
		}, gather(t, r.w)); diff != "" {
			t.Error(diff)
		}
	})
}
