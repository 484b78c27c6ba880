//go:build lab

package failover

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestDeadPortal stages while one of two portals answers nothing. That costs nothing above minPaths, and the missing
// paths come by themselves when the portal is back.
func TestDeadPortal(t *testing.T) {
	s := newStack(t)
	v := create(s, "deadportal", map[string]string{"minPaths": "2"})
	strict := create(s, "strict", map[string]string{"minPaths": "4"})
	ctx, cancel := s.Context(5 * time.Minute)
	defer cancel()
	for _, vol := range []*volume{v, strict} {
		must(t, vol.ControllerPublish(ctx))
		must(t, vol.Stage(ctx)) // formats
		must(t, vol.Unstage(ctx))
	}
	goneSessions(s)

	alive := timedStage(ctx, t, v)
	v.waitPaths(20*time.Second, allPaths)
	must(t, v.Unstage(ctx))
	goneSessions(s)

	mute(s, s.Net.Portals[1])
	dead := timedStage(ctx, t, v)
	if n := v.active(); n != allPaths/2 {
		t.Errorf("%d active paths with one of two portals dead", n)
	}
	atMost(t, "stage with a dead portal, against "+alive.Round(time.Millisecond).String()+" with all", dead, alive*3/2+time.Second)
	degraded(ctx, v, s.Net.Portals[1])

	limit, stop := context.WithTimeout(ctx, 90*time.Second)
	defer stop()
	start := time.Now()
	if err := strict.Stage(limit); status.Code(err) != codes.Unavailable {
		t.Errorf("more minPaths than live ones: %v; wanted Unavailable", err)
	}
	atMost(t, "refusing more minPaths than are alive", time.Since(start), 30*time.Second)

	unmute(s, s.Net.Portals[1])
	atMost(t, "portal back: missing paths added", v.waitPaths(90*time.Second, allPaths), maxAdded)
	must(t, strict.Stage(ctx))
	must(t, strict.Unstage(ctx))
	must(t, strict.ControllerUnpublish(ctx))
	must(t, strict.Delete(ctx))
	must(t, v.Unstage(ctx))
	must(t, v.ControllerUnpublish(ctx))
	must(t, v.Delete(ctx))
	tidy(s)
}

// degraded waits until the node says that the volume lacks paths to this portal.
func degraded(ctx context.Context, v *volume, portal string) {
	v.s.T.Helper()
	v.s.Eventually(20*time.Second, "health that says so", func() bool {
		is := health(ctx, v)
		v.s.T.Log("health: ", is)
		return len(is) == 1 && is[0].GetStatus() == csi.VolumeHealthErrorType_DEGRADED && strings.Contains(is[0].GetMessage(), portal)
	})
}

// health is what the node says of the volume; nothing when all is well.
func health(ctx context.Context, v *volume) []*csi.VolumeHealth_VolumeHealthEntry {
	v.s.T.Helper()
	resp, err := v.s.Node.Node.NodeGetVolumeHealth(ctx, &csi.NodeGetVolumeHealthRequest{VolumeId: v.VolumeId})
	must(v.s.T, err)
	return resp.GetVolumeHealth().GetHealthStatuses()
}

func timedStage(ctx context.Context, t *testing.T, v *volume) time.Duration {
	t.Helper()
	start := time.Now()
	must(t, v.Stage(ctx))
	return time.Since(start)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mute lets a portal's answers vanish: its address still resolves, nothing says that it is dead.
func mute(s *labenv.Stack, portal string) {
	s.T.Helper()
	s.Run("ip", "-n", "tgt", "rule", "add", "from", portal, "pref", "1", "blackhole")
}

func unmute(s *labenv.Stack, portal string) {
	s.T.Helper()
	s.Run("ip", "-n", "tgt", "rule", "del", "from", portal, "pref", "1")
}
