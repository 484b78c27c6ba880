//go:build lab

package failover

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/test/lab/labenv"
)

// maxResume is how long after the return of a lost network writes may take to go on.
const maxResume = 15 * time.Second

// TestAllPathsDown loses both NICs under verified writes, by their links and by silence, for LAB_OUTAGE each: scorecard rows 5
// and 6. Writes wait, no session is logged out, and when the network is back they go on; the file system has seen no error.
func TestAllPathsDown(t *testing.T) {
	labenv.Require(t, labenv.NetEm)
	lasts := duration(t, "LAB_OUTAGE", 20*time.Second)
	s := newStack(t)
	v := up(s, "outage")
	l := startLoad(v)
	before := sessionNumbers()
	for _, f := range []fault{{"links cut", s.LinkDown, s.LinkUp}, {"silence", s.Drop, s.Undrop}} {
		for _, nic := range s.Net.NICs {
			f.take(nic)
		}
		time.Sleep(lasts) // for how long the outage lasts
		if diff := cmp.Diff(before, sessionNumbers()); diff != "" {
			t.Errorf("%s: sessions before and during the outage (-before +during):\n%s", f.what, diff)
		}
		if r := l.Journal.Result(); r.Err != nil {
			t.Errorf("%s: a write failed: %v", f.what, r.Err)
		}
		for _, nic := range s.Net.NICs {
			f.give(nic)
		}
		atMost(t, f.what+" for "+lasts.String()+": writes go on", l.Flowing(time.Minute), maxResume)
		atMost(t, f.what+": all paths active", v.waitPaths(time.Minute, allPaths), 30*time.Second)
	}
	l.Finish()
	checkWritable(t, v)
	v.down()
}

// fault is taking a NIC's network away and giving it back.
type fault struct {
	what       string
	take, give func(nic string)
}

// TestDaemonsRestarted kills and starts iscsid and multipathd under verified writes: rows 9 and 10. Another volume can be
// attached then, sessions and map have the settings that they had, and a NIC that is lost afterwards does no harm.
func TestDaemonsRestarted(t *testing.T) {
	s := newStack(t)
	v := up(s, "daemons")
	l := startLoad(v)
	before := settings(v)
	for _, d := range []*labenv.Daemon{s.Initiator.ISCSID, s.Initiator.Multipathd} {
		l.Stall()
		d.KillAll()
		d.Start()
		l.Flowing(maxStall)
		atMost(t, d.Name+" killed and started: longest write", l.Stall(), maxStall)
		next := up(s, "after-"+d.Name)
		next.Down()
		s.Eventually(20*time.Second, "settings as before "+d.Name+" was killed", func() bool { return cmp.Equal(before, settings(v)) })
	}
	away(v, l, s.Net.NICs[1], fault{"link cut after the restarts", s.LinkDown, s.LinkUp})
	l.Finish()
	v.down()
}

// settings are the timers of the sessions and how the map treats the loss of all paths, by what they are of.
func settings(v *volume) map[string]string {
	all := map[string]string{}
	for _, pattern := range []string{
		"/sys/class/iscsi_session/session*/recovery_tmo", "/sys/class/iscsi_connection/connection*/ping_tmo",
		"/sys/class/iscsi_connection/connection*/recv_tmo",
	} {
		files, err := filepath.Glob(pattern)
		must(v.s.T, err)
		for _, f := range files {
			raw, err := os.ReadFile(f)
			must(v.s.T, err)
			all[f] = strings.TrimSpace(string(raw))
		}
	}
	table := v.s.Run("dmsetup", "table", v.id)
	all["queues"] = strconv.FormatBool(strings.Contains(table, "queue_if_no_path"))
	return all
}

func sessionNumbers() map[int]bool {
	all := map[int]bool{}
	for _, s := range labenv.Sessions() {
		all[s.ID] = true
	}
	return all
}

// duration is what the environment says, for runs that are longer than those of every day.
func duration(t *testing.T, name string, otherwise time.Duration) time.Duration {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}
