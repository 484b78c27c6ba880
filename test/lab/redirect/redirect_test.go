//go:build lab

package redirect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/doctor"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	iqn = "iqn.2001-05.com.example:array3"
	lun = 5
	mib = 1 << 20
	// front are the redirectors' addresses, other is a portal in a subnet in which no NIC of the node is.
	frontA, frontB = "10.99.0.101", "10.99.1.101"
	other          = "10.99.7.1"
)

// scene is an array with a front address in each of two fabrics, and a volume through the driver that knows only those.
type scene struct {
	*labenv.Stack
	*labenv.Volume
	array *labenv.RawTarget
	a, b  *labenv.Redirector
	load  *labenv.Load
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{Stack: labenv.NewNodeStack(t, labenv.StackOptions{
		Net:  labenv.Options{Portals: 4, Separate: true},
		Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}},
	})}
	// Else the first address of a subnet would take the others with it.
	s.InTarget("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/promote_secondaries")
	p := s.Net.Portals
	groups := s.RawTargetGroups(iqn, []string{p[0], p[1], p[2]}, []string{p[3]})
	s.array = groups[0]
	wwid := s.array.AddLUN(lun, 64*mib)
	groups[1].ShareLUN(s.array, lun)
	s.a, s.b = s.Redirector(iqn, 0, frontA), s.Redirector(iqn, 1, frontB)
	s.a.To(s.Net.Portals[0])
	s.b.To(s.Net.Portals[1])
	s.Volume = s.Static(s.array, lun, wwid, []string{frontA, frontB}, labenv.MountExt4)
	return s
}

// session is that of a NIC.
func (s *scene) session(nic string) sysfs.Session {
	s.T.Helper()
	all, err := sysfs.Default.Sessions()
	if err != nil {
		s.T.Fatal(err)
	}
	i := slices.IndexFunc(all, func(x sysfs.Session) bool { return x.NIC == nic })
	if i < 0 {
		s.T.Fatalf("no session over %s: %+v", nic, all)
	}
	return all[i]
}

// lands waits until a NIC's session is with a portal, asked for at the front, and the path carries I/O again.
func (s *scene) lands(nic, front, portal string) {
	s.T.Helper()
	took := s.Eventually(time.Minute, "the session over "+nic+" to be with "+portal, func() bool {
		x := s.session(nic)
		return x.LoggedIn() && x.Portal.Addr().String() == portal && x.Persistent.Addr().String() == front
	})
	paths := s.Eventually(time.Minute, "two active paths", func() bool { return s.active() == 2 })
	s.T.Logf("%s is with %s after %v, its path is used %v later", nic, portal, took.Round(time.Millisecond), paths.Round(time.Millisecond))
	_, before := s.Bytes(nic)
	s.Eventually(time.Minute, nic+" to carry I/O", func() bool { _, now := s.Bytes(nic); return now-before > mib })
}

func (s *scene) active() (n int) {
	states, err := multipath.NewDM("/dev").PathStates(multipath.UUID(s.Map()))
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

// lose takes a portal's address away: what is sent there vanishes.
func (s *scene) lose(portal, bridge string) {
	s.T.Helper()
	s.InTarget("ip", "addr", "del", portal+"/24", "dev", bridge)
}

// stall is the longest write since the last call.
func (s *scene) stall() time.Duration { return s.load.Stall().Round(time.Millisecond) }

// TestRedirect: bound sessions follow the redirect and stay on their NIC, into another subnet too, once that NIC has a way there, as
// the doctor says; and to another controller. When a portal on which one landed is lost, it asks at the front again and lands on
// the next. A cut cable moves the I/O at once, as ever.
func TestRedirect(t *testing.T) {
	s := newScene(t)
	s.Attach()
	s.load = s.Load(s.TargetPath, labenv.FioOptions{Size: "16M", Rate: "8m"})
	s.lands("san0", frontA, s.Net.Portals[0])
	s.lands("san1", frontB, s.Net.Portals[1])

	// What it says of how long that holds makes no difference: the front is asked again each time.
	s.stall()
	s.a.ForGood(s.Net.Portals[2])
	s.lose(s.Net.Portals[0], "br0")
	s.lands("san0", frontA, s.Net.Portals[2])
	t.Log("a lost portal: longest write", s.stall())

	// Nothing here leads to that subnet: the answers from there would be dropped (rp_filter).
	s.InTarget("ip", "addr", "add", other+"/24", "dev", "br0")
	s.array.AddPortal(other)
	s.a.To(other)
	s.lose(s.Net.Portals[2], "br0")
	f := s.told("redirects logins for " + iqn + " to " + other)
	t.Logf("the doctor: %+v", f)
	_, command, _ := strings.Cut(f.Fix, ": ip ")
	command, _, _ = strings.Cut(command, " [")
	s.Run(append([]string{"ip"}, strings.Fields(command)...)...)
	s.lands("san0", frontA, other)
	t.Log("into another subnet: longest write", s.stall())

	s.LinkDown("san0")
	s.Eventually(time.Minute, "the target to end the cut session where it is", func() bool {
		text, err := os.ReadFile(s.Node.Log)
		return err == nil && strings.Contains(string(text), `portal="`+other+`:3260"`) && strings.Contains(string(text), `outcome="cut"`)
	})
	s.load.Flowing(time.Minute)
	t.Log("cut NIC: longest write", s.stall())
	s.LinkUp("san0")
	s.lands("san0", frontA, other)

	// Of another controller, which is another portal group.
	s.b.To(s.Net.Portals[3])
	s.lose(s.Net.Portals[1], "br1")
	s.lands("san1", frontB, s.Net.Portals[3])
	if x := s.session("san1"); x.TPGT != 2 {
		t.Errorf("the session is of portal group %d", x.TPGT)
	}
	t.Log("another portal group: longest write", s.stall())

	// A new iscsid looks for the record under the portal group where the session is, and finds none.
	before := pingTimes(t)
	s.Initiator.ISCSID.KillAll()
	s.Initiator.ISCSID.Start()
	s.lands("san1", frontB, s.Net.Portals[3])
	s.Eventually(30*time.Second, "the timers of before", func() bool { return slices.Equal(pingTimes(t), before) })
	s.finish()
}

// pingTimes are how long the sessions' NOPs may take.
func pingTimes(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob("/sys/class/iscsi_connection/connection*/ping_tmo")
	if err != nil || len(files) != 2 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(string(raw)))
	}
	return all
}

func (s *scene) finish() {
	s.T.Helper()
	s.load.Finish()
	s.Detach()
	s.Tidy()
}

// told waits for an error of the doctor.
func (s *scene) told(seen string) (found doctor.Finding) {
	s.T.Helper()
	s.Eventually(time.Minute, "the doctor to say that "+seen, func() bool {
		out, _ := s.Try(s.Binary("portbind-csi"), "doctor", "--host-mounts=false", "-o", "json", "--config", s.Node.Config)
		var r doctor.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			s.T.Fatalf("%v in %q", err, out)
		}
		at := slices.IndexFunc(r.Findings, func(f doctor.Finding) bool { return f.Severity == doctor.Error && strings.Contains(f.Seen, seen) })
		if at >= 0 {
			found = r.Findings[at]
		}
		return at >= 0
	})
	return found
}
