//go:build lab

package doctor

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/doctor"
	"github.com/portbind/portbind/pkg/view"
	"github.com/portbind/portbind/test/lab/labenv"
)

// scene is a node with two bound NICs and a bond.
type scene struct {
	*labenv.Stack
}

func newScene(t *testing.T) *scene {
	t.Helper()
	labenv.Require(t, labenv.Bonding, labenv.NetEm)
	s := &scene{labenv.NewStack(t, labenv.StackOptions{Net: labenv.Options{NICs: 4}, Node: labenv.NodeOptions{Config: map[string]any{
		"interfaces": []map[string]any{
			{"name": "san-a", "netdev": "san0"}, {"name": "san-b", "netdev": "san1"}, {"name": "bond", "netdev": "bond9"},
		},
	}}})}
	t.Cleanup(func() { _, _ = s.Try("ip", "link", "del", "bond9") })
	for _, line := range []string{
		"addr flush dev san2", "addr flush dev san3", "link set san2 down", "link set san3 down",
		"link add bond9 type bond mode active-backup miimon 100", "link set san2 master bond9", "link set san3 master bond9",
	} {
		s.Run(append([]string{"ip"}, strings.Fields(line)...)...)
	}
	for key, value := range map[string]string{"rp_filter": "2", "arp_ignore": "1", "arp_announce": "2"} {
		s.sysctl("bond9", key, value)
	}
	s.Run("ip", "addr", "add", "10.99.0.12/24", "dev", "bond9")
	s.Run("ip", "link", "set", "bond9", "up")
	return s
}

func (s *scene) sysctl(nic, key, value string) {
	s.T.Helper()
	s.Write("/proc/sys/net/ipv4/conf/"+nic+"/"+key, value)
}

// command runs the program under test against this node.
func (s *scene) command(args ...string) (stdout string, status int) {
	s.T.Helper()
	out, err := s.Try(append([]string{s.Binary("portbind-csi"), args[0], "--config", s.Node.Config}, args[1:]...)...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out, exit.ExitCode()
	}
	if err != nil {
		s.T.Fatal(err)
	}
	return out, 0
}

// doctor asks the doctor, who sees this guest as a bare node.
func (s *scene) doctor() (doctor.Report, int) {
	s.T.Helper()
	out, status := s.command("doctor", "--host-mounts=false", "-o", "json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		s.T.Fatalf("%v in %q", err, out)
	}
	return r, status
}

// well waits until the doctor finds nothing.
func (s *scene) well() doctor.Report {
	s.T.Helper()
	var r doctor.Report
	defer func() {
		if s.T.Failed() {
			s.show(r)
		}
	}()
	took := s.Eventually(40*time.Second, "the doctor finds nothing", func() bool {
		var status int
		r, status = s.doctor()
		return status == 0
	})
	s.T.Logf("nothing to find after %v", took.Round(time.Millisecond))
	return r
}

// wantFirst says what the first finding must be: its check, and pieces of what it says. The others come back with it.
func (s *scene) wantFirst(status int, check string, pieces ...string) doctor.Report {
	s.T.Helper()
	start := time.Now()
	r, got := s.doctor()
	s.T.Logf("the doctor took %v", time.Since(start).Round(time.Millisecond))
	s.show(r)
	if got != status {
		s.T.Errorf("exit status %d, want %d", got, status)
	}
	f := r.Findings[0]
	text := strings.Join(append([]string{f.Subject, f.Seen, f.Fix}, f.Evidence...), "\n")
	if f.Check != check {
		s.T.Errorf("the first finding is about %s, not %s", f.Check, check)
	}
	for _, piece := range pieces {
		if !strings.Contains(text, piece) {
			s.T.Errorf("the first finding does not say %q:\n%s", piece, text)
		}
	}
	return r
}

// show logs a report as people see it.
func (s *scene) show(r doctor.Report) {
	s.T.Helper()
	var text strings.Builder
	if err := r.WriteTable(&text); err != nil {
		s.T.Fatal(err)
	}
	s.T.Logf("\n%s", text.String())
}

// rows is what a view gives.
func rows[R view.Row](s *scene, view string) []R {
	s.T.Helper()
	out, status := s.command(view, "-o", "json")
	var all []R
	if err := json.Unmarshal([]byte(out), &all); err != nil || status != 0 {
		s.T.Fatalf("%s: status %d, %v in %q", view, status, err, out)
	}
	wide, status := s.command(view, "-o", "wide")
	s.T.Logf("%s -o wide: status %d\n%s", view, status, wide)
	return all
}

// remove removes a file of the host's configuration.
func (s *scene) remove(path string) {
	s.T.Helper()
	if err := os.Remove(path); err != nil {
		s.T.Fatal(err)
	}
}
