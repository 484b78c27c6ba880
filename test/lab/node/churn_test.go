//go:build lab

package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/test/lab/labenv"
)

// churnTime is the limit of what is done to all volumes at once.
const churnTime = 20 * time.Minute

// TestStageWhileOthersUnstage is row 16 of the scorecard: volumes are staged while as many others are unstaged, all at once, and
// no call touches another's volume. LUN numbers, disk names and map numbers go from the ones to the others meanwhile.
// LAB_CHURN is how many of each, 4 by default. Calls that end as busy, not in time, or without having reached the target are repeated, as
// Kubernetes does: fifty of each keep the guest's one CPU and its udevd, which is the target's, too, at work for minutes.
func TestStageWhileOthersUnstage(t *testing.T) {
	r := newRig(t)
	n := 4
	if s := os.Getenv("LAB_CHURN"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		r.check(err)
	}
	kept := r.create("kept", 2)
	going, coming := r.create("going", n), r.create("coming", n)
	r.all(kept, (*labenv.Volume).ControllerPublish, (*labenv.Volume).Stage, (*labenv.Volume).Publish, putName)
	r.all(going, (*labenv.Volume).ControllerPublish, (*labenv.Volume).Stage, (*labenv.Volume).Publish, putName)
	w := r.Writer(kept[0].TargetPath)

	ctx, cancel := r.Context(churnTime)
	defer cancel()
	var both errgroup.Group
	both.Go(func() error {
		return r.eachAtOnce(ctx, going, wantName, (*labenv.Volume).Unpublish, (*labenv.Volume).Unstage, (*labenv.Volume).ControllerUnpublish)
	})
	both.Go(func() error {
		return r.eachAtOnce(ctx, coming, (*labenv.Volume).ControllerPublish, (*labenv.Volume).Stage, (*labenv.Volume).Publish, putName)
	})
	r.check(both.Wait())

	if res := w.Stop(30 * time.Second); res.Err != nil || res.Acked == 0 {
		t.Errorf("a volume that nobody called for: %+v", res)
	}
	r.check(w.Verify(kept[0].TargetPath))
	r.check(os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)) // read from the disks, not from memory
	r.all(coming, wantName)
	r.all(kept[1:], wantName)
	// What went is what was written to it.
	r.all(going, (*labenv.Volume).ControllerPublish, (*labenv.Volume).Stage, (*labenv.Volume).Publish, wantName)
	for _, volumes := range [][]*labenv.Volume{kept, coming, going} {
		r.all(volumes, (*labenv.Volume).Unpublish, (*labenv.Volume).Unstage, (*labenv.Volume).ControllerUnpublish, (*labenv.Volume).Delete)
	}
	r.nothingLeft()
}

// create makes volumes, each second one a file system, the others raw blocks.
func (r *rig) create(name string, n int) []*labenv.Volume {
	r.t.Helper()
	var all []*labenv.Volume
	for i := range n {
		capability := []*csi.VolumeCapability{labenv.Block, labenv.MountExt4}[i%2]
		all = append(all, r.Create(fmt.Sprintf("%s-%d", name, i), volumeSize, capability, nil))
	}
	return all
}

// step is what is done to one volume.
type step = func(*labenv.Volume, context.Context) error

// all takes the steps with all volumes at once.
func (r *rig) all(volumes []*labenv.Volume, steps ...step) {
	r.t.Helper()
	ctx, cancel := r.Context(churnTime)
	defer cancel()
	r.check(r.eachAtOnce(ctx, volumes, steps...))
}

func (r *rig) eachAtOnce(ctx context.Context, volumes []*labenv.Volume, steps ...step) error {
	var group errgroup.Group
	for _, v := range volumes {
		group.Go(func() error {
			for i, s := range steps {
				if err := r.repeated(ctx, v, s); err != nil {
					return fmt.Errorf("%s, step %d: %w", v.VolumeId, i+1, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// repeated takes a step as often as Kubernetes would, each time with kubelet's limit.
func (r *rig) repeated(ctx context.Context, v *labenv.Volume, s step) error {
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Minute)
		err := s(v, once)
		cancel()
		again := slices.Contains([]codes.Code{codes.Aborted, codes.Unavailable, codes.DeadlineExceeded}, status.Code(err))
		if !again || ctx.Err() != nil {
			return err
		}
		r.t.Logf("%s, again: %v", v.VolumeId, err)
	}
}

// putName writes the volume's own id to it, wantName reads that back. They look like the volume's own steps.
func putName(v *labenv.Volume, _ context.Context) error { return put(v, v.VolumeId) } //nolint:revive // a method's order

func wantName(v *labenv.Volume, _ context.Context) error { //nolint:revive // a method's order
	got, err := get(v, len(v.VolumeId))
	if err == nil && got != v.VolumeId {
		err = fmt.Errorf("%s has the content of %q", v.VolumeId, got)
	}
	return err
}
