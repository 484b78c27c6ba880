//go:build lab

package drain

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	mib      = 1 << 20
	allPaths = 4
	// maxStall is what a write may take longer than in a quiet time. The timers of a path that is lost take 4 s at least.
	maxStall = 3 * time.Second
	// maxOutage is for a NIC that is down for a moment: they may have to run out.
	maxOutage = 10 * time.Second
)

var secrets = map[string]string{
	"node.session.auth.username": "node-user", "node.session.auth.password": "pbInitiatorSecret4711",
	"node.session.auth.username_in": "target-user", "node.session.auth.password_in": "pbTargetSecret0815xyz",
}

// scene is a node with a volume that is written to all the time. Sessions linger for long: that they end is our doing.
type scene struct {
	*labenv.Stack
	t *testing.T
	// v names its interfaces, any uses all that there are.
	v, any *labenv.Volume
	load   *labenv.Load
	// noise is the longest write of a quiet time.
	noise time.Duration
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, Stack: labenv.NewStack(t, labenv.StackOptions{
		Target: labenv.TargetOptions{CHAP: "required"},
		Node:   labenv.NodeOptions{Config: map[string]any{"sessionLinger": "10m", "interfaces": configured("san-a=san0", "san-b=san1")}},
	})}
	s.v = s.up("named", nil)
	s.any = s.up("any", func(p map[string]string) { delete(p, "interfaces") })
	s.load = s.Load(s.v.TargetPath, labenv.FioOptions{Size: "8M", Rate: "2m"})
	s.noise = s.load.Noise()
	return s
}

// up makes a volume usable.
func (s *scene) up(name string, change func(parameters map[string]string)) *labenv.Volume {
	s.t.Helper()
	req := s.CreateRequest(name, 128*mib, labenv.MountExt4, nil)
	if change != nil {
		change(req.GetParameters())
	}
	v := s.CreateFrom(req)
	v.Secrets = secrets
	v.Up()
	return v
}

// finish holds everything against what was acknowledged, and takes the volumes away.
func (s *scene) finish() {
	s.t.Helper()
	s.load.Finish()
	s.v.Down()
	s.any.Down()
}

// smooth fails the test when a write since the last call took too long.
func (s *scene) smooth(what string) {
	s.t.Helper()
	took, allowed := s.load.Stall(), maxStall+2*s.noise
	s.t.Logf("%s: longest write %v (allowed: %v)", what, took.Round(time.Millisecond), allowed.Round(time.Millisecond))
	if took > allowed {
		s.t.Errorf("%s: a write took too long", what)
	}
}

// outage fails the test when a write since the last call took longer than the timers of a path may.
func (s *scene) outage(what string) {
	s.t.Helper()
	took := s.load.Stall()
	s.t.Logf("%s: longest write %v (allowed: %v)", what, took.Round(time.Millisecond), maxOutage)
	if took > maxOutage {
		s.t.Errorf("%s: a write took too long", what)
	}
}

// configured makes entries of "interface=NIC".
func configured(entries ...string) []map[string]string {
	var list []map[string]string
	for _, e := range entries {
		name, nic, _ := strings.Cut(e, "=")
		list = append(list, map[string]string{"name": name, "netdev": nic})
	}
	return list
}

// reconfigure starts the plugin anew with other interfaces, as an upgrade does.
func (s *scene) reconfigure(entries ...string) {
	s.t.Helper()
	raw, err := os.ReadFile(s.Node.Config)
	var c map[string]any
	if err == nil {
		err = yaml.Unmarshal(raw, &c)
	}
	if err == nil {
		c["interfaces"] = configured(entries...)
		raw, err = yaml.Marshal(c)
	}
	if err == nil {
		err = os.WriteFile(s.Node.Config, raw, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.Node.Restart()
}

// portbind runs a command beside the node plugin.
func (s *scene) portbind(command ...string) (string, error) {
	return s.Try(append(append([]string{s.Binary("portbind-csi")}, command...), "--config", s.Node.Config)...)
}

// must runs one that succeeds, and shows what it says.
func (s *scene) must(command ...string) string {
	s.t.Helper()
	start := time.Now()
	out, err := s.portbind(command...)
	s.t.Logf("portbind-csi %s (%v):\n%s", strings.Join(command, " "), time.Since(start).Round(time.Millisecond), out)
	if err != nil {
		s.t.Fatalf("portbind-csi %s: %v", strings.Join(command, " "), err)
	}
	return out
}

// refused runs one that must fail, say why, and change nothing.
func (s *scene) refused(why string, command ...string) {
	s.t.Helper()
	before := fmt.Sprint(labenv.Sessions(), s.drained())
	out, err := s.portbind(command...)
	s.t.Logf("portbind-csi %s:\n%s", strings.Join(command, " "), out)
	if err == nil || !strings.Contains(out, why) {
		s.t.Errorf("portbind-csi %s: %v; wanted is %q in\n%s", strings.Join(command, " "), err, why, out)
	}
	if after := fmt.Sprint(labenv.Sessions(), s.drained()); after != before {
		s.t.Errorf("it was refused and has changed\n%s\nto\n%s", before, after)
	}
}

func (s *scene) drained() []string {
	found, _ := filepath.Glob(filepath.Join(s.Node.StateDir, "drained", "*.json"))
	return found
}

// active counts the paths that a volume's map uses.
func active(v *labenv.Volume) (n int) {
	states, err := multipath.NewDM("/dev").PathStates(multipath.UUID(v.Map()))
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

// known counts the paths that multipathd has in a volume's map.
func known(v *labenv.Volume) (all, ready int) {
	m, err := multipath.NewClient().Map(context.Background(), v.Map())
	if err != nil {
		return 0, 0
	}
	for _, p := range m.Paths() {
		if p.Checker == "ready" && p.DMState == "active" {
			ready++
		}
	}
	return len(m.Paths()), ready
}

// over gives the NICs of the interface's sessions that are logged in, one for each.
func over(name string) (nics []string) {
	for _, s := range labenv.Sessions() {
		if s.Iface == "pb-"+name && s.State == "LOGGED_IN" {
			nics = append(nics, s.NIC)
		}
	}
	return nics
}

// present says that an interface has sessions, whatever their state.
func present(name string) bool {
	return slices.ContainsFunc(labenv.Sessions(), func(x labenv.Session) bool { return x.Iface == "pb-"+name })
}

// halved says that the kernel's map has half of the paths, and uses them.
func halved(v *labenv.Volume) bool {
	return len(labenv.MapPaths(v.Map())) == allPaths/2 && active(v) == allPaths/2
}

// left waits until nothing is left of an interface, and the rest works: in the kernel, with multipathd, with open-iscsi.
func (s *scene) left(name string, vs ...*labenv.Volume) {
	s.t.Helper()
	s.Eventually(30*time.Second, "the sessions of "+name+" to end", func() bool { return !present(name) })
	for _, v := range vs {
		if !halved(v) {
			s.t.Errorf("%s: %d of %d paths are active", v.VolumeId, active(v), len(labenv.MapPaths(v.Map())))
		}
		s.Eventually(30*time.Second, "multipathd to know the paths that are left", func() bool {
			all, ready := known(v)
			return all == allPaths/2 && ready == all
		})
	}
	s.Eventually(10*time.Second, "the records of "+name+" to go, with the secrets in them", func() bool {
		records, _ := filepath.Glob("/etc/iscsi/nodes/*/*/pb-" + name)
		return len(records) == 0
	})
}

// whole waits until the volumes have all their paths.
func (s *scene) whole(vs ...*labenv.Volume) {
	s.t.Helper()
	took := s.Eventually(time.Minute, "all paths", func() bool {
		return !slices.ContainsFunc(vs, func(v *labenv.Volume) bool { return active(v) != allPaths })
	})
	s.t.Logf("all paths after %v", took.Round(time.Millisecond))
	for _, v := range vs {
		s.Eventually(30*time.Second, "multipathd to know all paths", func() bool { _, ready := known(v); return ready == allPaths })
	}
}
