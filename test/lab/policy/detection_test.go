//go:build lab

package policy

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

// timers are those of a session in the kernel, and of its record; all in seconds.
type timers struct{ Interval, Timeout, Recovery, RecordedInterval, RecordedTimeout string }

var (
	byDefault = timers{"2", "2", "1", "2", "2"}
	quick     = timers{"1", "1", "1", "1", "1"}
)

// sessionTimers gives those of all sessions, by session.
func sessionTimers(t *testing.T) map[string]timers {
	t.Helper()
	read := func(dir, file string) string {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(data))
	}
	dirs, err := filepath.Glob("/sys/class/iscsi_session/session*")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]timers{}
	for _, dir := range dirs {
		name := filepath.Base(dir)
		connection := "/sys/class/iscsi_connection/" + strings.Replace(name, "session", "connection", 1) + ":0"
		record := recordOf(read(dir, "targetname"), read(connection, "persistent_address"), read(dir, "ifacename"))
		all[name] = timers{
			Interval: read(connection, "recv_tmo"), Timeout: read(connection, "ping_tmo"), Recovery: read(dir, "recovery_tmo"),
			RecordedInterval: record["node.conn[0].timeo.noop_out_interval"], RecordedTimeout: record["node.conn[0].timeo.noop_out_timeout"],
		}
	}
	return all
}

// recordOf reads open-iscsi's record of a session.
func recordOf(target, address, iface string) map[string]string {
	record := map[string]string{}
	files, _ := filepath.Glob(fmt.Sprintf("/etc/iscsi/nodes/%s/%s,*/%s", target, address, iface))
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(line, " = "); ok {
				record[key] = strings.TrimSpace(value)
			}
		}
	}
	return record
}

// wantTimers waits until the sessions of these names, and no others, have the timers. It says how long that took.
func wantTimers(s *labenv.Stack, what string, sessions []string, want timers) {
	s.T.Helper()
	all := map[string]timers{}
	for _, name := range sessions {
		all[name] = want
	}
	began := time.Now()
	for time.Since(began) < 20*time.Second && !maps.Equal(sessionTimers(s.T), all) {
		time.Sleep(50 * time.Millisecond) // the kernel announces none of it
	}
	if diff := cmp.Diff(all, sessionTimers(s.T)); diff != "" {
		s.T.Errorf("%s (-want +got):\n%s", what, diff)
	}
	s.T.Logf("%s: %+v after %v", what, want, time.Since(began).Round(10*time.Millisecond))
}

func sessionsLost() bool {
	states, _ := filepath.Glob("/sys/class/iscsi_session/session*/state")
	return slices.ContainsFunc(states, func(file string) bool {
		state, err := os.ReadFile(file)
		return err == nil && strings.TrimSpace(string(state)) != sysfs.SessionLoggedIn
	})
}

// silence lets the packets of a NIC vanish until writes go on without it, and then waits until all paths are back. It gives the longest
// write.
func silence(s *labenv.Stack, what string, w *labenv.Writer, volumes ...*volume) time.Duration {
	s.T.Helper()
	flowing := func() bool { n := w.Result().Acked; time.Sleep(300 * time.Millisecond); return w.Result().Acked > n+5 }
	s.Eventually(20*time.Second, "writes", flowing)
	w.ResetStall()
	nic := s.Net.NICs[0]
	s.Drop(nic)
	s.Eventually(30*time.Second, "sessions to be lost", sessionsLost)
	s.Eventually(30*time.Second, "writes to go on", flowing)
	stall := w.Result().Stall
	s.Undrop(nic)
	s.T.Logf("%s: longest write without packets on %s: %v", what, nic, stall.Round(10*time.Millisecond))
	for _, v := range volumes {
		v.settle()
	}
	return stall
}

// TestFailureDetection: sessions have the timers of the most urgent of their volumes, in the kernel at once and in the record, without
// a new login; after a loss again; a class changes them both ways. A write then waits less when packets vanish.
func TestFailureDetection(t *testing.T) {
	const most = 7 * time.Second
	api := startAPI(t)
	s := newStack(t)
	plain := up(s, "plain", labenv.Block, claimed("plain", nil))
	sessions := slices.Sorted(maps.Keys(sessionTimers(t)))
	wantTimers(s, "no class", sessions, byDefault)
	w := s.Writer(plain.TargetPath)
	slow := silence(s, "default", w, plain)

	urgent := up(s, "urgent", labenv.Block, claimed("urgent", map[string]string{"failureDetection": "fast"}))
	wantTimers(s, "a fast volume came", sessions, quick)
	soon := silence(s, "fast", w, plain, urgent)
	if soon > most || soon >= slow {
		t.Errorf("longest write %v with fast detection, %v with the default", soon, slow)
	}
	wantTimers(s, "after a new login by open-iscsi", sessions, quick)

	urgent.change(api, "urgent", "calm", map[string]string{"failureDetection": "default"})
	wantTimers(s, "changed to default", sessions, byDefault)
	s.Node.Kill()
	plain.change(api, "plain", "hasty", map[string]string{"failureDetection": "fast"})
	s.Node.Start()
	wantTimers(s, "the other changed to fast while the plugin was away", sessions, quick)
	if r := w.Stop(10 * time.Second); r.Err != nil {
		t.Error(r.Err)
	}
	plain.Down()
	wantTimers(s, "the fast one is gone", sessions, byDefault)
	urgent.Down()
	s.Tidy()
}
