//go:build lab

// Package instant shows what happens in the moment in which a bound NIC loses its link: under verified writes, next to a
// volume with the stock settings of iscsid and multipathd on the same NICs, which must be left alone.
package instant

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	mib = 1 << 20
	// maxStall and maxReturn are the scorecard's.
	maxStall  = time.Second
	maxReturn = 10 * time.Second
	// allPaths is two NICs by two portals.
	allPaths = 4
	metrics  = "127.0.0.1:9808"
)

// scene is a node with one volume that is written to.
type scene struct {
	*labenv.Stack
	t *testing.T
	v *labenv.Volume
	// id is the map's name.
	id   string
	load *labenv.Load
	// stockWWID is a LUN of another target at the same portals.
	stockWWID string
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, Stack: labenv.NewStack(t, labenv.StackOptions{
		Initiator: labenv.InitiatorOptions{MultipathConf: plainConf},
		Node:      labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}, Flags: []string{"--metrics-address", metrics}},
	})}
	s.stockWWID = s.RawTarget(stockIQN).AddLUN(1, 64*mib)
	s.v = s.Create("instant", 256*mib, labenv.MountExt4, nil)
	s.v.Up()
	s.id, _ = multipath.ID(s.v.WWID())
	s.waitPaths(20*time.Second, allPaths)
	s.load = s.Load(s.v.TargetPath, labenv.FioOptions{Size: "16M", Rate: "8m"})
	return s
}

// finish stops writing, holds everything against what was acknowledged and takes the volume away.
func (s *scene) finish() {
	s.t.Helper()
	s.load.Finish()
	s.v.Down()
	// iscsid never comes to the end of a logout that is under way when the target goes for good.
	s.Eventually(30*time.Second, "unused sessions to log out", func() bool { return len(labenv.Sessions()) == 0 })
}

func active(id string) (n int) {
	states, err := multipath.NewDM("/dev").PathStates(multipath.UUID(id))
	if err != nil {
		return 0
	}
	for _, p := range states {
		if p.Active {
			n++
		}
	}
	return n
}

func (s *scene) waitPaths(timeout time.Duration, want int) time.Duration {
	s.t.Helper()
	return s.Eventually(timeout, fmt.Sprintf("%d active paths", want), func() bool { return active(s.id) == want })
}

// noise is what the emulated machine, of which there may be several on one CPU, may add to a stall: twice the longest write of a
// while in which nothing happens, since the seconds that follow may be worse.
func (s *scene) noise() time.Duration { s.t.Helper(); return 2 * s.load.Noise() }

// loggedIn counts sessions over a NIC, ours or the others.
func loggedIn(nic string, ours bool) (n int) {
	for _, s := range labenv.Sessions() {
		if s.NIC == nic && s.State == "LOGGED_IN" && strings.HasPrefix(s.Iface, "pb-") == ours {
			n++
		}
	}
	return n
}

// recoveryTimes are those of our sessions, by interface and portal.
func recoveryTimes(t *testing.T) map[string]string {
	t.Helper()
	times := map[string]string{}
	for _, s := range labenv.Sessions() {
		if strings.HasPrefix(s.Iface, "pb-") {
			data, err := os.ReadFile(fmt.Sprintf("/sys/class/iscsi_session/session%d/recovery_tmo", s.ID))
			if err != nil {
				t.Fatal(err)
			}
			times[s.Iface+" "+s.Portal] = strings.TrimSpace(string(data))
		}
	}
	return times
}

// failfast gives the node's metrics of what is tested here.
func failfast(t *testing.T) map[string]string {
	t.Helper()
	return scrape(t, "portbind_failfast_")
}

// measured wants the metrics of traffic to be those of a node that writes over both NICs to all portals.
func (s *scene) measured() {
	s.t.Helper()
	got := scrape(s.t, "portbind_")
	for i, iface := range []string{"san-a", "san-b"} {
		nic := fmt.Sprintf(`{device=%q,interface=%q}`, s.Net.NICs[i], iface)
		wants := map[string]float64{"interface_receive_bytes_total" + nic: 1e4, "interface_transmit_bytes_total" + nic: 1e5}
		for _, portal := range s.Net.Portals {
			way := fmt.Sprintf(`{interface=%q,portal="%s:3260"}`, iface, portal)
			for name, least := range map[string]float64{
				"path_writes_total": 10, "path_written_bytes_total": 1e4, "path_write_seconds_total": 0.001, "path_reads_total": 1,
			} {
				wants[name+way] = least
			}
			wants[strings.TrimSuffix("sessions"+way, "}")+`,state="logged_in"}`] = 1
		}
		for name, least := range wants {
			value, err := strconv.ParseFloat(got[name], 64)
			s.t.Logf("%s is %q", name, got[name])
			if err != nil || value < least {
				s.t.Errorf("metric %s is %q; wanted %v or more", name, got[name], least)
			}
		}
	}
	if maps := got[`maps{state="whole"}`]; maps == "" || maps == "0" {
		s.t.Errorf("maps that are whole: %q", maps)
	}
}

// scrape gives the node's metrics that have labels, without the prefix that all have.
func scrape(t *testing.T, prefix string) map[string]string {
	t.Helper()
	resp, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	found := map[string]string{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "} "); ok && strings.HasPrefix(name, prefix) {
			found[strings.TrimPrefix(name, prefix)+"}"] = value
		}
	}
	return found
}

// atMost fails the test when what took longer than allowed.
func atMost(t *testing.T, what string, took, allowed time.Duration) {
	t.Helper()
	t.Logf("%s: %v (allowed: %v)", what, took.Round(time.Millisecond), allowed)
	if took > allowed {
		t.Errorf("%s took %v; allowed: %v", what, took, allowed)
	}
}
