//go:build lab

package bench

import (
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// runs of each side; they take turns, so that what else the machine does hits both.
const runs = 7

// sides are the repetitions of the same work by the product and by hand.
type sides struct {
	ours, bare             samples
	oursPhases, barePhases phaseSamples
}

// add takes one call of the product.
func (s *sides) add(took time.Duration, phases []phase) {
	s.ours = append(s.ours, took)
	s.oursPhases.add(phases)
}

func (s *sides) row(t *table, what string) {
	t.add(what, s.ours.median(), s.bare.median(), ratio(s.ours.median(), s.bare.median()), s.ours.max(), s.bare.max())
}

func attachTable(title, note string) *table {
	return &table{Title: title, Note: note, Header: []string{"", "Portbind", "bare sequence", "ratio", "Portbind, longest", "bare, longest"}}
}

// TestAttachWarm attaches and detaches a formatted volume while the sessions are up.
func TestAttachWarm(t *testing.T) {
	b := newBed(t, linger("10m"))
	v := b.formatted("warm", nil)
	attach, detach := &sides{}, &sides{}
	for range runs {
		b.quiet()
		attach.add(v.stage())
		v.paths()
		b.quiet()
		detach.add(v.unstage())
		b.quiet()
		v.runBare(attach, detach)
	}
	tab := attachTable("Attach and detach, sessions up",
		"NodeStageVolume and NodeUnstageVolume of a formatted ext4 volume over 2 NICs x 2 portals (gRPC included) against scan, wait "+
			"for the disks, udevadm settle, multipathd's add path, all paths active, mount; and unmount, flush, delete. Medians.")
	attach.row(tab, "attach")
	detach.row(tab, "detach")
	publish(t, tab)
	publishPhases(t, "Phases of an attach, sessions up", attach)
	publishPhases(t, "Phases of a detach", detach)
	want(t, "attach with sessions up", attach, 1.2)
	want(t, "detach", detach, 1.5)
	v.delete()
	b.logoutAll()
}

// paths checks that all are in the map when the stage returns.
func (v *volume) paths() {
	v.b.T.Helper()
	if n := activePaths(v.b.dm, v.id); n != allPaths {
		v.b.T.Errorf("%d active paths when the stage returned; wanted %d", n, allPaths)
	}
}

func (v *volume) runBare(attach, detach *sides) {
	v.b.T.Helper()
	by := v.bare()
	w := by.attach(v.b.mnt)
	attach.bare = append(attach.bare, w.total())
	attach.barePhases.add(w.phases)
	v.b.quiet()
	w = by.detach(v.b.mnt)
	detach.bare = append(detach.bare, w.total())
	detach.barePhases.add(w.phases)
}

// TestAttachCold attaches a formatted volume on a node without a session.
func TestAttachCold(t *testing.T) {
	b := newBed(t, linger("1s"))
	v := b.formatted("cold", nil)
	b.noSessions()
	s := &sides{}
	by := v.bare()
	by.records(b.NodeID, b.Net.NICs, b.Net.Portals)
	for range runs {
		b.quiet()
		s.add(v.stage())
		v.paths()
		b.quiet()
		v.call(v.Unstage)
		b.noSessions()
		b.quiet()
		v.coldBare(by, s)
	}
	tab := attachTable("Attach, no session yet", "As above, with four logins before; by hand they are one iscsiadm --login for all. Medians.")
	s.row(tab, "attach")
	publish(t, tab)
	publishPhases(t, "Phases of an attach, no session yet", s)
	want(t, "attach without a session", s, 1.0)
	v.delete()
	b.finish()
}

// coldBare logs in by hand first. Its sessions are not the product's, which leaves them alone.
func (v *volume) coldBare(by *bare, s *sides) {
	v.b.T.Helper()
	login := newStopwatch()
	by.loginAgain()
	login.lap("login")
	w := by.attach(v.b.mnt)
	s.bare = append(s.bare, login.total()+w.total())
	s.barePhases.add(append(login.phases, w.phases...))
	v.b.quiet()
	by.detach(v.b.mnt)
	by.logout()
}

func publishPhases(t *testing.T, title string, s *sides) {
	t.Helper()
	tab := &table{
		Title: title, Header: []string{"", "phases, one after the other, medians"},
		Note: "Portbind's are from its own log, of the same calls.",
	}
	tab.add("Portbind", s.oursPhases.text())
	tab.add("bare sequence", s.barePhases.text())
	publish(t, tab)
}

func want(t *testing.T, what string, s *sides, most float64) {
	t.Helper()
	if r := ratio(s.ours.median(), s.bare.median()); r > most {
		t.Errorf("%s takes %.2f times the bare sequence; goal: %.2f", what, r, most)
	}
}

// logoutAll ends a test whose node keeps its sessions for long: a node that keeps none takes over.
func (b *bed) logoutAll() {
	b.T.Helper()
	b.Node.Stop()
	b.Env.Node(labenv.NodeOptions{Name: "tidy", Config: map[string]any{"sessionLinger": "1s"}})
	b.finish()
}
