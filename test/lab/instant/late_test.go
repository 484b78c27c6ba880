//go:build lab

package instant

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	blockSize = 4096
	lateCount = 32
	lateDelay = 1500 * time.Millisecond
)

// TestLateFrames cuts a NIC whose frames take long to the target. Commands that were under way go over the other NIC and
// succeed there, and only then does the target get to see the first copies. It must not act upon them: they are older than what
// has been written since, and the kernel's initiator sends from the writer's own pages, which hold something else by now.
func TestLateFrames(t *testing.T) {
	s := newScene(t)
	s.load.Fio.Stop()
	b := s.newBlocks("late")
	nic := s.Net.NICs[0]
	for round := range 2 {
		short := s.LongLine(nic, lateDelay.String())
		s.onlyOver(nic)
		var under sync.WaitGroup
		for i := range lateCount {
			under.Go(func() { b.write(i, i, round) })
		}
		time.Sleep(lateDelay / 5) // they are on the line
		s.reinstate()
		s.LinkDown(nic)
		cut := time.Now()
		under.Wait()
		t.Logf("written over the other NIC %v after the cut", time.Since(cut).Round(time.Millisecond))
		for i := range lateCount {
			b.write(i, lateCount+i, round)
		}
		t.Logf("written again %v after the cut", time.Since(cut).Round(time.Millisecond))
		time.Sleep(2 * lateDelay)
		b.check(2*lateCount, round)
		short()
		s.LinkUp(nic)
		s.waitPaths(30*time.Second, allPaths)
	}
	if got := failfast(t)[`sessions_total{interface="san-a",outcome="cut"}`]; got != "4" {
		t.Errorf("%s sessions were ended at once; wanted 4: %v", got, failfast(t))
	}
	_ = b.file.Close()
	s.load.Fio = s.Fio(s.v.TargetPath, labenv.FioOptions{Size: "16M", Rate: "8m"})
	s.Eventually(time.Minute, "fio reads back what it wrote", func() bool { _, n := s.load.Fio.IO(); return n > 0 })
	s.finish()
}

// onlyOver fails the paths over all other NICs, until multipathd looks at them again.
func (s *scene) onlyOver(nic string) {
	s.t.Helper()
	for devno, over := range s.pathNICs() {
		if over != nic {
			s.message("fail_path " + devno)
		}
	}
}

func (s *scene) reinstate() {
	s.t.Helper()
	for devno := range s.pathNICs() {
		s.message("reinstate_path " + devno)
	}
}

func (s *scene) message(text string) {
	s.t.Helper()
	if err := multipath.NewDM("/dev").Message(multipath.UUID(s.id), text); err != nil {
		s.t.Fatal(err)
	}
}

// pathNICs gives the NIC of each of the map's paths.
func (s *scene) pathNICs() map[string]string {
	s.t.Helper()
	sessions, err := sysfs.Default.Sessions()
	if err != nil {
		s.t.Fatal(err)
	}
	disks, err := sysfs.Default.Disks()
	if err != nil {
		s.t.Fatal(err)
	}
	states, err := multipath.NewDM("/dev").PathStates(multipath.UUID(s.id))
	if err != nil {
		s.t.Fatal(err)
	}
	nics := map[string]string{}
	for _, p := range states {
		for _, d := range disks {
			for _, session := range sessions {
				if d.Major == p.Devno.Major && d.Minor == p.Devno.Minor && d.HCTL.Host == session.Host {
					nics[p.Devno.String()] = session.NIC
				}
			}
		}
	}
	return nics
}

// blocks is a file that is written to from a page for each writer, without a cache.
type blocks struct {
	t     *testing.T
	file  *os.File
	pages []byte
}

func (s *scene) newBlocks(name string) *blocks {
	s.t.Helper()
	path := filepath.Join(s.v.TargetPath, name)
	if err := os.WriteFile(path, make([]byte, 2*lateCount*blockSize), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.Run("sync")
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	pages, err := unix.Mmap(-1, 0, lateCount*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		s.t.Fatal(err)
	}
	return &blocks{s.t, file, pages}
}

func content(block, round int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("round %02d, b %04d", round, block)), blockSize/16)
}

// write puts a block into a page and the page into the file.
func (b *blocks) write(page, block, round int) {
	buffer := b.pages[page*blockSize:][:blockSize]
	copy(buffer, content(block, round))
	if _, err := b.file.WriteAt(buffer, int64(block*blockSize)); err != nil {
		b.t.Errorf("write block %d: %v", block, err)
	}
}

func (b *blocks) check(count, round int) {
	b.t.Helper()
	buffer := b.pages[:blockSize]
	for block := range count {
		if _, err := b.file.ReadAt(buffer, int64(block*blockSize)); err != nil {
			b.t.Fatal(err)
		}
		if !bytes.Equal(buffer, content(block, round)) {
			b.t.Errorf("block %d has %q; wanted %q", block, buffer[:16], content(block, round)[:16])
		}
	}
}
