//go:build lab

package bench

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// plainConf is what a node has whose administrator changed nothing but what makes multipath take the LUNs at all.
const plainConf = "defaults {\n\tuser_friendly_names no\n\tfind_multipaths no\n}\n"

const (
	// cuts is how often the link is cut, cutLasts for how long: longer than the stock settings' timers.
	cuts     = 3
	cutLasts = 20 * time.Second
)

// TestStall cuts the link of one of two NICs under writes and takes the longest one: with the stock settings of iscsid
// and multipathd, with the product's timers alone, and as the product is installed.
func TestStall(t *testing.T) {
	tab := &table{
		Title:  "Longest write when one of two NICs loses its link",
		Header: []string{"", "longest write, median", "of all", "paths lost after", "all paths back after"},
		Note: fmt.Sprintf("Single writes of 4 KiB, O_DIRECT and O_DSYNC, one after the other; the link is cut %d times for %v each. "+
			"The two on the right are medians.", cuts, cutLasts),
	}
	t.Run("stock", func(t *testing.T) { stockStall(t, tab) })
	t.Run("timers", func(t *testing.T) { ourStall(t, tab, false, 7*time.Second) })
	t.Run("instant", func(t *testing.T) { ourStall(t, tab, true, time.Second) })
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
	stalls(t, e, b, "/dev/mapper/"+wwid).row(tab, "stock iscsid and multipathd")
	b.detach("")
	b.logout()
}

func ourStall(t *testing.T, tab *table, instant bool, goal time.Duration) {
	b := newBed(t, labenv.StackOptions{Node: labenv.NodeOptions{Config: map[string]any{
		"sessionLinger": "1s", "instantFailover": instant,
	}}})
	v := b.formatted("stall", nil)
	v.call(v.Stage)
	s := stalls(t, b.Env, v.bare(), filepath.Join(v.StagingPath, "journal"))
	s.row(tab, fmt.Sprintf("Portbind, `instantFailover: %v`", instant))
	if s.write.max() > goal {
		t.Errorf("longest write %v; goal: %v", s.write.max(), goal)
	}
	v.call(v.Unstage)
	v.delete()
	b.finish()
}

// stall is what was seen of the cuts: the longest write, until the paths were lost, until they were back.
type stall struct{ write, lost, back samples }

func (s stall) row(tab *table, who string) {
	tab.add(who, s.write.median(), s.write.max(), s.lost.median(), s.back.median())
}

// stalls takes the first NIC's link away, again and again, while something writes.
func stalls(t *testing.T, e *labenv.Env, b *bare, file string) (s stall) {
	t.Helper()
	w := e.Writer(file)
	for n := range cuts {
		steady(e, b, w)
		w.ResetStall()
		lost, back := cut(e, b)
		s.write = append(s.write, w.Result().Stall)
		s.lost, s.back = append(s.lost, lost), append(s.back, back)
		t.Logf("cut %d: longest write %v, paths lost after %v, back after %v", n+1, s.write[n], lost, back)
	}
	check(t, w.Stop(time.Minute).Err)
	check(t, w.Verify(file))
	return s
}

// steady waits until all paths have been used for a while: right after its return a path may fail once more.
func steady(e *labenv.Env, b *bare, w *labenv.Writer) {
	e.T.Helper()
	acked, since := w.Result().Acked, time.Now()
	e.Eventually(2*time.Minute, "writes over all paths", func() bool {
		if activePaths(b.dm, b.id) != allPaths {
			since = time.Now()
		}
		return w.Result().Acked > acked+100 && time.Since(since) > 5*time.Second
	})
}

// cut takes the link away and gives it back.
func cut(e *labenv.Env, b *bare) (lost, back time.Duration) {
	e.T.Helper()
	paths := func(n int) func() bool { return func() bool { return activePaths(b.dm, b.id) == n } }
	start := time.Now()
	e.LinkDown(e.Net.NICs[0])
	lost = e.Eventually(time.Minute, "two paths lost", paths(allPaths/2))
	time.Sleep(max(0, cutLasts-time.Since(start)))
	e.LinkUp(e.Net.NICs[0])
	return lost, e.Eventually(2*time.Minute, "all paths back", paths(allPaths))
}
