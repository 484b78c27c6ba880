//go:build lab && soak

package failover

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestFlapping takes a NIC away for 5 s every 10 s, LAB_FLAPS times: scorecard row 4.
func TestFlapping(t *testing.T) {
	flaps := number(t, "LAB_FLAPS", 20)
	s := newStack(t)
	v := up(s, "flapping")
	l := startLoad(v)
	l.Stall()
	nic := s.Net.NICs[0]
	for range flaps {
		s.LinkDown(nic)
		time.Sleep(5 * time.Second) // the row's rhythm
		s.LinkUp(nic)
		time.Sleep(5 * time.Second)
	}
	atMost(t, "longest write while "+nic+" flapped "+strconv.Itoa(flaps)+" times", l.Stall(), maxStall)
	atMost(t, "all paths active after the last flap", v.waitPaths(time.Minute, allPaths), 30*time.Second)
	l.Finish()
	v.down()
}

// upset is one thing that goes wrong, and what puts it right again.
type upset struct {
	name       string
	begin, end func()
}

// TestRandomFaults lets things go wrong for LAB_SOAK, one or two at a time, in an order that LAB_SEED repeats: NICs, portals,
// daemons, the plugin; other volumes come and go meanwhile. Not one write may fail or be lost.
func TestRandomFaults(t *testing.T) {
	labenv.Require(t, labenv.NetEm)
	lasts, seed := duration(t, "LAB_SOAK", 10*time.Minute), number(t, "LAB_SEED", time.Now().Nanosecond())
	t.Logf("LAB_SOAK=%v LAB_SEED=%d", lasts, seed)
	s := newStack(t)
	v := up(s, "soaked")
	l := startLoad(v)
	dice := rand.New(rand.NewPCG(0, uint64(seed))) //nolint:gosec // chance that can be repeated
	all := upsets(s)
	worst := time.Duration(0)
	for end, round := time.Now().Add(lasts), 1; time.Now().Before(end); round++ {
		a := dice.IntN(len(all))
		b := (a + 1 + dice.IntN(len(all)-1)) % len(all) // another one: what is silent already cannot be made to talk twice
		first, second := all[a], all[b]
		hold, overlap := time.Duration(dice.IntN(8000))*time.Millisecond, time.Duration(dice.IntN(2000))*time.Millisecond
		t.Logf("round %d: %s for %v; after %v %s", round, first.name, hold, overlap, second.name)
		first.begin()
		time.Sleep(overlap)
		second.begin()
		time.Sleep(hold)
		all[min(a, b)].end() // the plugin, which is last, does not get ready without the daemons
		all[max(a, b)].end()
		took := l.Flowing(time.Minute)
		worst = max(worst, took)
		atMost(t, fmt.Sprintf("round %d: writes go on", round), took, maxResume)
		if round%4 == 0 {
			v.waitPaths(time.Minute, allPaths)
			next := up(s, fmt.Sprintf("passing-%d", round))
			next.Down()
		}
	}
	atMost(t, "all paths active at the end", v.waitPaths(time.Minute, allPaths), time.Minute)
	t.Logf("slowest to go on: %v; longest write: %v", worst.Round(time.Millisecond), l.Stall().Round(time.Millisecond))
	l.Finish()
	checkWritable(t, v)
	v.down()
}

// upsets are those of a node with two NICs and two portals. Ending one that has not begun does nothing.
func upsets(s *labenv.Stack) []upset {
	var all []upset
	for _, nic := range s.Net.NICs {
		all = append(all,
			upset{"link of " + nic + " cut", func() { s.LinkDown(nic) }, func() { s.LinkUp(nic) }},
			upset{"silence on " + nic, func() { s.Drop(nic) }, func() { s.Undrop(nic) }})
	}
	for _, portal := range s.Net.Portals {
		all = append(all, portalDead(s, portal))
	}
	for _, d := range []*labenv.Daemon{s.Initiator.ISCSID, s.Initiator.Multipathd, s.Node.Daemon} {
		all = append(all, upset{d.Name + " away", d.KillAll, func() { startIfGone(d) }})
	}
	return all
}

func portalDead(s *labenv.Stack, portal string) upset {
	dead := false
	return upset{
		name:  "portal " + portal + " dead",
		begin: func() { mute(s, portal); dead = true },
		end: func() {
			if dead {
				unmute(s, portal)
				dead = false
			}
		},
	}
}

func startIfGone(d *labenv.Daemon) {
	if !d.Running() {
		d.Start()
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}
