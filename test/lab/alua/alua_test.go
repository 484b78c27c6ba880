//go:build lab

package alua

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	iqn = "iqn.2001-05.com.example:array2"
	lun = 3
	mib = 1 << 20
)

// scene is an array with two controllers, each with two portals in a fabric of its own, and a volume through the driver.
type scene struct {
	*labenv.Stack
	*labenv.Volume
	controllers []*labenv.RawTarget
	nics        []string // of the node, by controller
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{Stack: labenv.NewNodeStack(t, labenv.StackOptions{
		Net:  labenv.Options{Portals: 4, Separate: true},
		Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}},
	})}
	p := s.Net.Portals
	s.controllers = s.RawTargetGroups(iqn, []string{p[0], p[2]}, []string{p[1], p[3]})
	s.nics = s.Net.NICs
	wwid := s.controllers[0].AddLUN(lun, 64*mib)
	s.controllers[1].ShareLUN(s.controllers[0], lun)
	s.Volume = s.Static(s.controllers[0], lun, wwid, p, labenv.Block)
	return s
}

// states sets those of both controllers.
func (s *scene) states(first, second int) {
	s.T.Helper()
	// The worse one first: between the two there is never none.
	order := []int{0, 1}
	if first > second {
		order = []int{1, 0}
	}
	for _, i := range order {
		s.controllers[i].SetALUA(lun, []int{first, second}[i])
	}
}

// groups are the NICs of the kernel's path groups, best first.
func (s *scene) groups() []string {
	table, err := multipath.NewDM("/dev").Table(multipath.UUID(s.Map()))
	if err != nil {
		return []string{err.Error()}
	}
	var all []string
	for _, g := range table.Groups {
		var nics []string
		for _, p := range g {
			nics = append(nics, s.nicOf(p.String()))
		}
		slices.Sort(nics)
		all = append(all, strings.Join(nics, " "))
	}
	return all
}

// nicOf finds the NIC of a disk by its number.
func (s *scene) nicOf(devno string) string {
	path, err := os.Readlink("/sys/dev/block/" + devno)
	if err != nil {
		return err.Error()
	}
	for part := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(part, "host") {
			nic, _ := os.ReadFile("/sys/class/iscsi_host/" + part + "/netdev")
			return strings.TrimSpace(string(nic))
		}
	}
	return path
}

// carries waits until a NIC alone carries the volume's I/O.
func (s *scene) carries(nic string) time.Duration {
	s.T.Helper()
	return s.Eventually(90*time.Second, nic+" alone to carry I/O", func() bool {
		sent := s.sent(time.Second)
		for other, bytes := range sent {
			if other != nic && bytes > 8<<10 { // the paths' checks
				return false
			}
		}
		return sent[nic] > 128<<10
	})
}

// sent is how many bytes each NIC sends in a while.
func (s *scene) sent(d time.Duration) map[string]uint64 {
	s.T.Helper()
	sent := map[string]uint64{}
	for _, nic := range s.nics {
		_, before := s.Bytes(nic)
		sent[nic] = -before
	}
	time.Sleep(d) // what is measured is a rate
	for _, nic := range s.nics {
		_, after := s.Bytes(nic)
		sent[nic] += after
	}
	return sent
}

func (s *scene) down() {
	s.T.Helper()
	s.Detach()
	s.Tidy()
}

// TestStates: paths are grouped by what the target says of them, from the map's first table on. I/O is on the better
// controller's NIC only, follows when the target changes its mind, and comes back. The writer sees no error.
func TestStates(t *testing.T) {
	s := newScene(t)
	s.states(labenv.ALUANonOptimized, labenv.ALUAOptimized)
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	if err := s.Stage(ctx); err != nil {
		t.Fatal(err)
	}
	first, want := s.groups(), []string{"san1 san1", "san0 san0"}
	t.Logf("the first table's groups: %q", first)
	// On a busy machine multipathd may have put its own in place, before it has asked all paths.
	if slices.ContainsFunc(first, func(g string) bool { return strings.Contains(g, "san0") && strings.Contains(g, "san1") }) {
		t.Errorf("the first table's groups: %q, want %q", first, want)
	}
	if err := s.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	s.Eventually(time.Minute, "multipathd to have all paths", func() bool { return s.settled(4) && slices.Equal(s.groups(), want) })
	s.show("the second controller is better")
	fio := s.Fio(s.TargetPath, labenv.FioOptions{Size: "32M", Rate: "8m"})
	t.Log("san1 carries after", s.carries("san1"))
	t.Logf("sent in 2 s: %v", s.sent(2*time.Second))

	for _, step := range []struct {
		name          string
		first, second int
		nic           string
	}{
		{"the first one is better", labenv.ALUAOptimized, labenv.ALUANonOptimized, "san0"},
		{"back again", labenv.ALUANonOptimized, labenv.ALUAOptimized, "san1"},
		{"the better one stands by", labenv.ALUAOptimized, labenv.ALUAStandby, "san0"},
	} {
		s.states(step.first, step.second)
		t.Logf("%s: %s carries after %v", step.name, step.nic, s.carries(step.nic))
		s.show(step.name)
	}
	r := fio.Stop()
	t.Logf("fio: %d MiB written, %d MiB verified, longest write %v", r.WrittenBytes/mib, r.ReadBytes/mib, r.Stall)
	if r.Errors > 0 || r.WrittenBytes == 0 || r.ReadBytes == 0 {
		t.Errorf("fio: %+v", r)
	}
	s.down()
}

// settled says that multipathd and the kernel use that many paths.
func (s *scene) settled(want int) bool {
	m, err := multipath.NewClient().Map(context.Background(), s.Map())
	n := 0
	for _, p := range m.Paths() {
		if p.Checker == "ready" && p.DMState == "active" {
			n++
		}
	}
	return err == nil && n == want
}

func (s *scene) show(what string) {
	s.T.Helper()
	s.T.Logf("%s:\n%s", what, s.Multipathd("show map "+s.Map()+" topology"))
}
