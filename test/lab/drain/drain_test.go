//go:build lab

package drain

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestDrain takes interfaces out of use and back, in each way there is, while a volume is written to and read back.
func TestDrain(t *testing.T) {
	labenv.Require(t, labenv.NetEm)
	s := newScene(t)
	s.onlyOne()
	s.maintenance()
	s.killed()
	s.unconfigured()
	s.silent()
	s.renamed()
	s.exchanged()
	s.finish()
}

// onlyOne: what a volume cannot do without is not taken away.
func (s *scene) onlyOne() {
	s.t.Helper()
	only := s.up("only", func(p map[string]string) { p["interfaces"] = "san-a" })
	s.refused("it has no other interface", "drain", "san-a")
	only.Down()
	if _, err := s.portbind("drain", "san-x"); err == nil {
		s.t.Error("an interface that is not there was drained")
	}
}

// maintenance is what it is for: the NIC is pulled, a volume staged, and nobody notices.
func (s *scene) maintenance() {
	s.t.Helper()
	s.must("drain", "san-a")
	s.smooth("drain")
	s.left("san-a", s.v, s.any)
	if out := s.must("interfaces"); !strings.Contains(out, "Drained") {
		s.t.Error("it does not show that it is drained")
	}
	s.LinkDown("san0")
	s.refused("no other interface", "drain", "san-b")
	late := s.up("late", nil)
	if n := active(late); n != allPaths/2 {
		s.t.Errorf("a volume staged meanwhile has %d paths", n)
	}
	if out := s.must("volumes"); strings.Count(out, " whole ") != 3 {
		s.t.Error("a volume has lost something")
	}
	s.LinkUp("san0")
	time.Sleep(2 * time.Second) // that is news, upon which it heals
	s.left("san-a", s.v, s.any, late)
	s.smooth("NIC pulled, volume staged")
	s.must("undrain", "san-a")
	s.whole(s.v, s.any, late)
	s.smooth("undrain")
	late.Down()
}

// killed: the plugin dies while paths are leaving, twice. The next one knows of the wish, and goes on.
func (s *scene) killed() {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := s.portbind("drain", "san-b", "--timeout", "2m")
		done <- err
	}()
	for kill := range 2 {
		before := progress()
		s.Eventually(time.Minute, "the drain to go on", func() bool { return progress() != before || len(over("san-b")) == 0 })
		s.Node.Kill()
		s.t.Logf("killed %d: %d sessions, %d disks", kill+1, len(labenv.Sessions()), len(labenv.Disks()))
		s.Node.Start()
	}
	if err := <-done; err != nil {
		s.t.Errorf("drain: %v", err)
	}
	s.left("san-b", s.v, s.any)
	s.smooth("drain with a plugin that is killed")
	s.must("undrain", "san-b")
	s.whole(s.v, s.any)
}

// progress changes with each step of a drain that the kernel shows.
func progress() string {
	var seen []string
	for _, m := range labenv.Maps() {
		seen = append(seen, labenv.MapPaths(m)...)
	}
	for _, x := range labenv.Sessions() {
		seen = append(seen, x.Iface+x.Portal)
	}
	return strings.Join(append(seen, labenv.Disks()...), " ")
}

// unconfigured: an interface is taken out of the configuration and put back by upgrades of the plugin. CHAP's secrets have gone with
// its records; those of the other interface have them still.
func (s *scene) unconfigured() {
	s.t.Helper()
	s.load.Stall()
	s.reconfigure("san-b=san1")
	s.left("san-a", s.v, s.any)
	s.smooth("interface removed from the configuration")
	s.reconfigure("san-a=san0", "san-b=san1", "san-a=san9")
	s.whole(s.v, s.any)
	s.smooth("interface added to the configuration")
}

// silent: packets of a NIC vanish while its link stays up, and before anybody has noticed, its interface is drained: it leaves, and the
// writes that were under way over it are not lost. The other one is not drained in that state: nothing would be left.
func (s *scene) silent() {
	s.t.Helper()
	s.Drop("san0")
	s.must("drain", "san-a")
	s.left("san-a", s.v, s.any)
	s.outage("a silent NIC is drained")
	s.Undrop("san0")
	s.must("undrain", "san-a")
	s.whole(s.v, s.any)

	s.load.Stall()
	s.Drop("san0")
	out, err := s.portbind("drain", "san-b", "--timeout", "5s")
	s.t.Logf("drain of the only one that works: %v\n%s", err, out)
	s.load.Flowing(maxOutage)
	if err == nil || len(over("san-b")) != allPaths/2 {
		s.t.Error("the only interface that works was drained")
	}
	s.must("undrain", "san-b", "--timeout", "10s")
	s.Undrop("san0")
	s.whole(s.v, s.any)
	s.outage("drain next to a silent NIC")
}

// renamed: a NIC gets another name, which the configuration knows. Its sessions are made anew over it.
func (s *scene) renamed() {
	s.t.Helper()
	s.rename("san0", "san9")
	s.outage("NIC renamed")
	s.rename("san9", "san0")
	records, _ := filepath.Glob("/etc/iscsi/nodes/*/*/pb-san-a")
	if len(records) != allPaths/2 {
		s.t.Errorf("records: %v", records)
	}
}

// exchanged: two interfaces have each other's NIC now. One after the other its sessions are made anew.
func (s *scene) exchanged() {
	s.t.Helper()
	s.reconfigure("san-a=san1", "san-b=san0")
	took := s.Eventually(time.Minute, "sessions over the other NICs", func() bool {
		return slices.Equal(over("san-a"), []string{"san1", "san1"}) && slices.Equal(over("san-b"), []string{"san0", "san0"})
	})
	s.t.Log("exchanged after", took.Round(time.Millisecond))
	s.whole(s.v, s.any)
	s.smooth("NICs exchanged")
}

func (s *scene) rename(from, to string) {
	s.t.Helper()
	s.Run("ip", "link", "set", from, "down")
	s.Run("ip", "link", "set", from, "name", to)
	s.Run("ip", "link", "set", to, "up")
	s.Eventually(time.Minute, "sessions over "+to, func() bool { return slices.Equal(over("san-a"), []string{to, to}) })
	s.whole(s.v, s.any)
}
