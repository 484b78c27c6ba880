//go:build lab

package failover

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unstageLimit is the time that a call gets: part of it waits for a path to come back, the rest takes the volume away.
const unstageLimit = 20 * time.Second

// TestUnstageWithoutPaths takes volumes away that have unwritten data, when their LUN is gone, and when both NICs have lost their
// links: scorecard row 19. The calls return in time, and nothing hangs in the kernel.
func TestUnstageWithoutPaths(t *testing.T) {
	s := newStack(t)
	gone, cut := up(s, "lun-gone"), up(s, "links-cut")
	ctx, cancel := s.Context(5 * time.Minute)
	defer cancel()

	leaveUnwritten(t, gone)
	must(t, gone.ControllerUnpublish(ctx))
	takeAway(t, gone, "LUN gone")

	leaveUnwritten(t, cut)
	for _, nic := range s.Net.NICs {
		s.LinkDown(nic)
	}
	takeAway(t, cut, "links cut")
	for _, nic := range s.Net.NICs {
		s.LinkUp(nic)
	}
	must(t, cut.ControllerUnpublish(ctx))
	for _, v := range []*volume{gone, cut} {
		must(t, v.Delete(ctx))
	}
	tidy(s)
}

// leaveUnwritten writes without a sync: an unmount has to write it.
func leaveUnwritten(t *testing.T, v *volume) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(v.TargetPath, "unwritten"), make([]byte, 4*mib), 0o600))
}

// takeAway unpublishes and unstages within the limit.
func takeAway(t *testing.T, v *volume, why string) {
	t.Helper()
	atMost(t, why+": unpublish", timed(t, v.Unpublish), unstageLimit)
	atMost(t, why+": unstage", timed(t, v.Unstage), unstageLimit)
	v.s.Eventually(10*time.Second, "nothing to hang in the kernel", func() bool { return len(hanging(t)) == 0 })
}

func timed(t *testing.T, call func(context.Context) error) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), unstageLimit)
	defer cancel()
	start := time.Now()
	must(t, call(ctx))
	return time.Since(start)
}

// hanging lists what is in the state D.
func hanging(t *testing.T) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
	must(t, err)
	for _, f := range files {
		stat, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(stat), ") D ") {
			found = append(found, string(stat))
		}
	}
	return found
}
