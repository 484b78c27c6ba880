//go:build lab

package failover

import (
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// faultLasts is how long a NIC stays away: longer than any time-out that could let a stall through.
const faultLasts = 12 * time.Second

// TestLinkCut cuts either NIC's link under verified writes, one after the other, and gives it back: scorecard rows 1
// and 3.
func TestLinkCut(t *testing.T) {
	s := newStack(t)
	v := up(s, "linkcut")
	l := startLoad(v)
	for _, nic := range []string{s.Net.NICs[0], s.Net.NICs[1], s.Net.NICs[0]} {
		away(v, l, nic, fault{"link cut", s.LinkDown, s.LinkUp})
	}
	atMost(t, "fio's longest write", l.Finish().Stall, maxStall)
	v.down()
}

// TestSilentDrop is the same with packets that vanish while the link stays up: rows 2 and 3.
func TestSilentDrop(t *testing.T) {
	labenv.Require(t, labenv.NetEm)
	s := newStack(t)
	v := up(s, "silentdrop")
	l := startLoad(v)
	for _, nic := range s.Net.NICs {
		away(v, l, nic, fault{"silent drop", s.Drop, s.Undrop})
	}
	atMost(t, "fio's longest write", l.Finish().Stall, maxStall)
	v.down()
}

// away takes a NIC away under load and gives it back.
func away(v *volume, l *labenv.Load, nic string, f fault) {
	s := v.s
	s.T.Helper()
	l.Stall()
	f.take(nic)
	noticed := v.waitPaths(faultLasts, allPaths/2)
	time.Sleep(faultLasts - min(noticed, faultLasts)) // for how long the fault lasts
	atMost(s.T, f.what+" of "+nic+": longest write", l.Stall(), maxStall)
	f.give(nic)
	start := time.Now()
	s.Eventually(time.Minute, "all sessions back", func() bool { return loggedIn() == allPaths })
	s.T.Logf("%s back: sessions after %v", nic, time.Since(start).Round(time.Millisecond))
	v.waitPaths(30*time.Second, allPaths)
	atMost(s.T, nic+" back: all paths active", time.Since(start), maxReturn)
}

func loggedIn() (n int) {
	for _, s := range labenv.Sessions() {
		if s.State == "LOGGED_IN" {
			n++
		}
	}
	return n
}

// TestShare writes over one and over two bound NICs that are shaped to the same rate: two carry nearly twice as much,
// each about half of it.
func TestShare(t *testing.T) {
	labenv.Require(t, labenv.TBF)
	s := newStack(t)
	one := create(s, "one", map[string]string{"interfaces": s.InterfaceNames()[0]})
	one.Up()
	two := up(s, "two")
	for _, nic := range s.Net.NICs {
		s.Shape(nic, "24mbit") // well below what a busy machine can do
	}
	rateOne, shareOne := throughput(one)
	rateTwo, shareTwo := throughput(two)
	for _, nic := range s.Net.NICs {
		s.Shape(nic, "")
	}
	t.Logf("one bound NIC: %.1f MB/s, %.0f %% by %s", rateOne/1e6, 100*shareOne, s.Net.NICs[0])
	t.Logf("two bound NICs: %.1f MB/s, %.0f %% by %s", rateTwo/1e6, 100*shareTwo, s.Net.NICs[0])
	if rateTwo < 1.8*rateOne {
		t.Errorf("two NICs carry %.2f times what one does; wanted at least 1.8", rateTwo/rateOne)
	}
	if shareOne < 0.99 {
		t.Errorf("%s carried %.0f %% of what was bound to it alone", s.Net.NICs[0], 100*shareOne)
	}
	if shareTwo < 0.45 || shareTwo > 0.55 {
		t.Errorf("%s carried %.0f %% of what both are to carry", s.Net.NICs[0], 100*shareTwo)
	}
	one.Down()
	two.down()
}

// throughput writes for a while and returns bytes per second and the first NIC's share of what was sent.
func throughput(v *volume) (rate, firstNIC float64) {
	v.s.T.Helper()
	fio := v.s.Fio(v.TargetPath, labenv.FioOptions{RW: "write", BS: "128k", Size: "128M", Depth: 16, NoVerify: true})
	begin := sent(v.s)
	v.s.Eventually(time.Minute, "fio to write at full speed", func() bool { // and the shapers' buckets to be used up
		now := sent(v.s)
		return now[0]+now[1]-begin[0]-begin[1] > 8*mib
	})
	before := sent(v.s)
	time.Sleep(8 * time.Second)
	after := sent(v.s)
	fio.Stop()
	a, b := float64(after[0]-before[0]), float64(after[1]-before[1])
	return (a + b) / 8, a / (a + b)
}

func sent(s *labenv.Stack) [2]uint64 {
	s.T.Helper()
	_, a := s.Bytes(s.Net.NICs[0])
	_, b := s.Bytes(s.Net.NICs[1])
	return [2]uint64{a, b}
}
