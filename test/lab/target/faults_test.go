//go:build lab

package target

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
	"github.com/portbind/portbind/test/lab/labenv"
)

// operation is a call that the daemon is killed in.
type operation struct {
	name string
	// before makes what the call needs, call is it, undo takes all away again.
	before, undo func(*setup)
	call         func(*setup, context.Context) error
	// lvs and exports are what is there after the call.
	lvs     []string
	exports int
}

func operations() []operation {
	nothing := func(*setup) {}
	made := func(s *setup) { s.create("v", 8*mib) }
	published := func(s *setup) { made(s); s.publish("v", nodeA, false) }
	gone := func(s *setup) { s.unpublish("v", ""); s.remove("v") }
	return []operation{
		{
			name: "create", before: nothing, undo: gone, lvs: []string{"pbv_v"},
			call: func(s *setup, ctx context.Context) error {
				_, err := s.api.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: s.key("v"), RequiredBytes: 8 * mib}, wait)
				return err
			},
		},
		{
			name: "clone", before: made, undo: func(s *setup) { s.remove("c"); gone(s) }, lvs: []string{"pbv_c", "pbv_v"},
			call: func(s *setup, ctx context.Context) error {
				v, err := s.api.CreateVolume(ctx, &targetv1.CreateVolumeRequest{
					Key: s.key("c"), RequiredBytes: 16 * mib, SourceVolume: s.key("v"),
				}, wait)
				if err == nil && v.GetSizeBytes() != 16*mib {
					return fmt.Errorf("the clone has %d bytes", v.GetSizeBytes())
				}
				return err
			},
		},
		{
			name: "snapshot", before: made, undo: func(s *setup) { s.removeSnapshot("s"); gone(s) }, lvs: []string{"pbs_s", "pbv_v"},
			call: func(s *setup, ctx context.Context) error {
				_, err := s.api.CreateSnapshot(ctx, &targetv1.CreateSnapshotRequest{Key: s.snapKey("s"), Source: s.key("v")}, wait)
				return err
			},
		},
		{
			name: "expand", before: published, undo: gone, lvs: []string{"pbv_v"}, exports: 1,
			call: func(s *setup, ctx context.Context) error {
				v, err := s.api.ExpandVolume(ctx, &targetv1.ExpandVolumeRequest{Key: s.key("v"), RequiredBytes: 16 * mib}, wait)
				if err == nil && v.GetSizeBytes() != 16*mib {
					return fmt.Errorf("it has %d bytes", v.GetSizeBytes())
				}
				return err
			},
		},
		{
			name: "publish", before: made, undo: gone, lvs: []string{"pbv_v"}, exports: 1,
			call: func(s *setup, ctx context.Context) error {
				_, err := s.api.Publish(ctx, &targetv1.PublishRequest{Key: s.key("v"), Initiator: nodeA, Chap: mutual, ReadOnly: true}, wait)
				return err
			},
		},
		{
			name: "unpublish", before: published, undo: gone, lvs: []string{"pbv_v"},
			call: func(s *setup, ctx context.Context) error {
				_, err := s.api.Unpublish(ctx, &targetv1.UnpublishRequest{Key: s.key("v"), Initiator: nodeA}, wait)
				return err
			},
		},
		{
			name: "delete", before: made, undo: nothing,
			call: func(s *setup, ctx context.Context) error {
				_, err := s.api.DeleteVolume(ctx, &targetv1.DeleteVolumeRequest{Key: s.key("v")}, wait)
				return err
			},
		},
	}
}

// TestKilledAtEachStep is row 24: SIGKILL at every step of every call. After a restart, the repeated call succeeds, and
// there is exactly what it stands for; or the opposite is called instead, and nothing is left.
func TestKilledAtEachStep(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	file := s.faulty()
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			outer := s.T
			s.T = t
			defer func() { s.T = outer }()
			step := 1
			for s.killed(op, file, step) {
				step++
			}
		})
		if t.Failed() {
			return
		}
	}
}

// killed runs an operation with a kill at one step. false: it has no such step.
func (s *setup) killed(op operation, file string, step int) bool {
	s.T.Helper()
	op.before(s)
	s.arm(file, step)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	err := op.call(s, ctx)
	cancel()
	if err == nil {
		// The step may be one of what the call leaves to do behind its back.
		s.disarm(file)
		s.check(op, "undisturbed")
		s.undo(op)
		if !s.target.Running() {
			s.target.Start()
		}
		return false
	}
	s.Eventually(20*time.Second, "the daemon dies", func() bool { return !s.target.Running() })
	what := s.disarm(file)
	if what == "" {
		s.T.Fatalf("step %d: %v, and no kill", step, err)
	}
	s.target.Start()
	if step%2 == 1 {
		s.must(op.call(s, s.ctx()))
		s.check(op, what)
	}
	s.undo(op)
	s.T.Logf("step %2d: killed %s: converged", step, what)
	return !s.T.Failed()
}

func (s *setup) undo(op operation) {
	s.T.Helper()
	op.undo(s)
	s.nothingLeft()
}

// check compares what is there with what should be.
func (s *setup) check(op operation, when string) {
	s.T.Helper()
	if got := s.lvs(); !slices.Equal(got, op.lvs) {
		s.T.Errorf("killed %s: LVs %v, want %v", when, got, op.lvs)
	}
	// A backstore, a LUN, an ACL and a mapping for each export.
	if got := s.state(); len(got) != 4*op.exports {
		s.T.Errorf("killed %s: %v, want %d exports", when, got, op.exports)
	}
	if op.exports == 1 && op.name == "publish" && s.attr("acls/"+nodeA+"/lun_1/write_protect") != "1" {
		s.T.Errorf("killed %s: the LUN is not read-only", when)
	}
}

// TestKilledWhileRestoring: the daemon dies at each step of restoring after a reboot, again and again, and in the end
// everything is as it was.
func TestKilledWhileRestoring(t *testing.T) {
	s := start(t, labenv.TargetOptions{})
	file := s.faulty()
	s.create("v", 8*mib)
	_, err := s.api.Publish(s.ctx(), &targetv1.PublishRequest{Key: s.key("v"), Initiator: nodeA, Chap: mutual}, wait)
	s.must(err)
	s.target.Kill()
	for step := 1; ; step++ {
		s.target.ForgetKernelState()
		s.arm(file, step)
		s.target.StartNoWait()
		died := s.diesOrServes()
		what := s.disarm(file)
		if !died {
			break
		}
		s.target.Start()
		if got := s.state(); len(got) != 4 || s.attr("enable") != "1" || s.attr("acls/"+nodeA+"/auth/password_mutual") != mutual.GetTargetSecret() {
			t.Fatalf("step %d, killed %s: %v, enabled %s", step, what, got, s.attr("enable"))
		}
		t.Logf("step %2d: killed %s: restored", step, what)
		s.target.Kill()
	}
	s.unpublish("v", "")
	s.remove("v")
	s.nothingLeft()
}

// diesOrServes waits until the daemon has died, or serves.
func (s *setup) diesOrServes() (died bool) {
	s.T.Helper()
	s.Eventually(30*time.Second, "the daemon dies or serves", func() bool {
		if !s.target.Running() {
			died = true
			return true
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := s.api.GetInfo(ctx, &targetv1.GetInfoRequest{})
		return status.Code(err) == codes.OK
	})
	return died
}
