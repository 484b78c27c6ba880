//go:build lab && soak

package failover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestFullPool lets a volume fill its thin pool: scorecard row 23, the writers. Its writes wait, whether LVM lets them wait or, after
// a minute, gives errors, which multipath takes for errors of the paths; they go on when the pool has grown. A volume that needs no new
// space goes on all the time.
func TestFullPool(t *testing.T) {
	s := labenv.NewStack(t, labenv.StackOptions{
		Node: shortLinger(), Initiator: stock, Target: labenv.TargetOptions{PoolSize: 384 * mib},
	})
	pool := s.Target.Pools[0]
	more := spare(s, "more", 512*mib)
	calm, fat := s.Create("calm", 16*mib, labenv.Block, nil), s.Create("fat", 512*mib, labenv.Block, nil)
	calm.Up()
	fat.Up()
	journal := s.Writer(calm.TargetPath)
	s.Eventually(time.Minute, "all of the journal's blocks to be there", func() bool { return journal.Result().Acked > 600 })
	f := fill(t, fat.TargetPath, 512)
	s.Eventually(time.Minute, "a full pool", func() bool {
		return strings.Contains(s.Run("lvs", "--noheadings", "-o", "lv_health_status", pool.VG+"/"+pool.LV), "out_of_data")
	})
	journal.ResetStall()
	full := f.done.Load()
	time.Sleep(duration(t, "LAB_FULL", 100*time.Second)) // for how long the pool is full
	t.Logf("%d MiB were written when the pool was full, %d later", full, f.done.Load()-full)
	atMost(t, "pool full: longest write where no new space is needed", journal.Result().Stall, maxStall)

	s.Run("vgextend", "-q", pool.VG, more)
	s.Run("lvextend", "-q", "-l", "+100%FREE", pool.VG+"/"+pool.LV)
	grown := time.Now()
	must(t, <-f.end)
	t.Logf("all written %v after the pool grew", time.Since(grown).Round(time.Millisecond))
	if r := journal.Stop(30 * time.Second); r.Err != nil {
		t.Error(r.Err)
	}
	fat.Down()
	calm.Down()
	tidy(s)
	// Each path that failed or came back was an event of its map: udevd has many to handle, and the next test would wait for it.
	s.Eventually(5*time.Minute, "udevd to be idle", func() bool {
		_, err := os.Stat("/run/udev/queue")
		return errors.Is(err, fs.ErrNotExist)
	})
}

// spare is another disk for the pool's volume group.
func spare(s *labenv.Stack, name string, size int64) string {
	s.T.Helper()
	file := "/run/" + name + ".img"
	must(s.T, os.WriteFile(file, nil, 0o600))
	must(s.T, os.Truncate(file, size))
	dev := strings.TrimSpace(s.Run("losetup", "-f", "--show", file))
	s.T.Cleanup(func() { _, _ = s.Try("losetup", "-d", dev); _ = os.Remove(file) }) // it goes with the group
	return dev
}

// filling writes a device from its beginning, MiB by MiB.
type filling struct {
	done atomic.Int64
	end  chan error
}

func fill(t *testing.T, path string, count int64) *filling {
	t.Helper()
	dev, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
	must(t, err)
	page, err := unix.Mmap(-1, 0, mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	must(t, err)
	f := &filling{end: make(chan error, 1)}
	go func() {
		defer dev.Close()
		for n := range count {
			if _, err := dev.WriteAt(page, n*mib); err != nil {
				f.end <- fmt.Errorf("MiB %d: %w", n, err)
				return
			}
			f.done.Add(1)
		}
		f.end <- nil
	}()
	return f
}
