package failfast

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/iscsi"
)

// methodIs checks what the metric says of the method.
func (r *rig) methodIs(method string) {
	r.t.Helper()
	name := `portbind_failfast_method{method="` + method + `"}`
	if all := gather(r.t, r.w); all[name] != 1 {
		r.t.Errorf("not %s: %v", name, all)
	}
}

// TestISIDs: without knowing a session's ISID nothing but its paths is touched.
func TestISIDs(t *testing.T) {
	for _, c := range []struct {
		name, version string
		isids         map[int]iscsi.ISID
		method        string
		want          []string
	}{
		{"new", "2.1.9", nil, "sock_destroy", left},
		{"old", "2.0-873", nil, "none", left[:1]},
		{"not installed", "", nil, "none", left[:1]},
		{"the kernel knows, though it is old", "2.0-873", map[int]iscsi.ISID{1: iscsi.ISIDOf(1)}, "none", left},
		{"the kernel knows better", "2.1.9", map[int]iscsi.ISID{1: iscsi.ISIDOf(2)}, "sock_destroy", left[:1]},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := twoNICs()
				f.iscsid, f.isids = c.version, c.isids
				r := start(t, f, config(t))
				defer r.stop()
				r.methodIs(c.method)
				r.link("san0", false)
				r.after(hold, c.want...)
			})
		})
	}
}

// TestUpdate: the version is asked for until it is one of use.
func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := twoNICs()
		f.iscsid = "2.0-873"
		r := start(t, f, config(t))
		defer r.stop()
		r.after(10 * askAgain)
		f.mu.Lock()
		f.iscsid = "2.1.8"
		f.mu.Unlock()
		r.after(askAgain)
		r.methodIs("sock_destroy")
		r.link("san0", false)
		r.after(hold, left...)
	})
}

// TestOff: nothing is done about a loss, but what was done before is undone.
func TestOff(t *testing.T) {
	cfg := config(t)
	synctest.Test(t, func(t *testing.T) {
		f := twoNICs()
		r := start(t, f, cfg)
		r.link("san0", false)
		r.after(hold, left...)
		r.stop()
		synctest.Wait()
		f.login(1)
		cfg.Off = true
		r = start(t, f, cfg)
		defer r.stop()
		r.after(time.Second, "recovery 1 1")
		r.methodIs("off")
		r.link("san1", false)
		r.after(time.Minute)
		if diff := cmp.Diff(1, len(gather(t, r.w))); diff != "" {
			t.Error(diff)
		}
	})
}
