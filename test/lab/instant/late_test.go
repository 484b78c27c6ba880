//go:build lab

package instant

import (
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestLateFrames cuts a NIC whose frames take long to the target. Commands that were under way go over the other NIC and
// succeed there, and only then does the target get to see the first copies. It must not act upon them: they are older than what
// has been written since, and the kernel's initiator sends from the writer's own pages, which hold something else by now.
func TestLateFrames(t *testing.T) {
	s := newScene(t)
	s.fio.Stop()
	s.fio = s.Fio(s.v.TargetPath, labenv.FioOptions{Size: "16M", Depth: 64, Extra: []string{"--filename=late"}})
	nic := s.Net.NICs[0]
	s.LongLine(nic, "400ms")
	for range 3 {
		s.waitPaths(30*time.Second, allPaths)
		s.verified(2 * mib)
		s.LinkDown(nic)
		s.waitPaths(15*time.Second, allPaths/2)
		s.verified(2 * mib)
		t.Logf("longest write: %v", s.stall())
		s.LinkUp(nic)
	}
	t.Log(failfast(t))
	if got := failfast(t)[`sessions_total{interface="san-a",outcome="cut"}`]; got != "6" {
		t.Errorf("%s sessions were ended at once; wanted 6", got)
	}
	s.waitPaths(30*time.Second, allPaths)
	s.finish()
}

// verified waits until fio has read back more.
func (s *scene) verified(bytes uint64) {
	s.t.Helper()
	_, before := s.fio.IO()
	s.Eventually(time.Minute, "fio reads back what it wrote", func() bool {
		_, now := s.fio.IO()
		return now >= before+bytes || !s.fio.Running()
	})
}
