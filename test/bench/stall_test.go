//go:build lab

package bench

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// plainConf is what a node has whose administrator changed nothing but what makes multipath take the LUNs at all.
const plainConf = "defaults {\n\tuser_friendly_names no\n\tfind_multipaths no\n}\n"

// TestStall cuts the link of one of two NICs under writes and takes the longest one: with the stock settings of iscsid
// and multipathd, and as the product sets them up.
func TestStall(t *testing.T) {
	tab := &table{
		Title: "Longest write when one of two NICs loses its link", Header: []string{"", "longest write", "paths lost after", "all paths back after"},
		Note: "Single writes of 4 KiB, O_DIRECT and O_DSYNC, one after the other; the link is cut once for 20 s.",
	}
	t.Run("stock", func(t *testing.T) { stockStall(t, tab) })
	t.Run("portbind", func(t *testing.T) { ourStall(t, tab) })
	publish(t, tab)
}

func stockStall(t *testing.T, tab *table) {
	e := labenv.New(t, labenv.Options{})
	wwid := e.RawTarget(bareTarget).AddLUN(1, 64*mib)
	e.StartInitiator(labenv.InitiatorOptions{MultipathConf: plainConf, ConfD: map[string]string{}})
	b := newBare(e, bareTarget, 1, wwid)
	b.stock = true
	b.login(labenv.InitiatorName(), e.Net.NICs, e.Net.Portals)
	b.attach("")
	cut(t, e, b, "/dev/mapper/"+wwid, tab, "stock iscsid and multipathd")
	b.detach("")
	b.logout()
}

func ourStall(t *testing.T, tab *table) {
	b := newBed(t, linger("1s"))
	v := b.formatted("stall", nil)
	v.call(v.Stage)
	longest := cut(t, b.Env, v.bare(), filepath.Join(v.StagingPath, "journal"), tab, "Portbind")
	if longest > 7*time.Second {
		t.Errorf("longest write %v; goal: 7 s", longest)
	}
	v.call(v.Unstage)
	v.delete()
	b.finish()
}

// cut takes the first NIC's link away for 20 s while something writes.
func cut(t *testing.T, e *labenv.Env, b *bare, file string, tab *table, who string) time.Duration {
	t.Helper()
	w := e.Writer(file)
	e.Eventually(30*time.Second, "writes to begin", func() bool { return w.Result().Acked > 100 })
	w.ResetStall()
	paths := func(n int) func() bool { return func() bool { return activePaths(b.dm, b.id) == n } }
	start := time.Now()
	e.LinkDown(e.Net.NICs[0])
	lost := e.Eventually(time.Minute, "two paths lost", paths(allPaths/2))
	time.Sleep(max(0, 20*time.Second-time.Since(start)))
	e.LinkUp(e.Net.NICs[0])
	back := e.Eventually(2*time.Minute, "all paths back", paths(allPaths))
	r := w.Stop(time.Minute)
	check(t, r.Err)
	check(t, w.Verify(file))
	tab.add(who, r.Stall, lost, back)
	return r.Stall
}
