package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/volume"
)

// cluster plays the API server: the classes that it has, and who follows which PersistentVolume.
type cluster struct {
	mu        sync.Mutex
	classes   map[string]map[string]string
	asked     int
	told      []string
	followers map[string]func(driver, volumeID, class string) error
	ended     map[string]int
	changed   chan struct{}
}

func newCluster() *cluster {
	return &cluster{
		classes: map[string]map[string]string{
			"a":           {"preferredInterface": "san-a"},
			"slow":        {"noPathRetry": "5m", "pathSelector": "round-robin"},
			"plain":       {"preferredInterface": "", "pathSelector": "", "noPathRetry": "", "failureDetection": "default"},
			"quick":       {"failureDetection": "fast"},
			"again plain": {"noPathRetry": ""},
			"wrong":       {"pathSelector": "fastest"},
			"multi":       {"pathGroupingPolicy": "multibus"},
		},
		followers: map[string]func(driver, volumeID, class string) error{}, ended: map[string]int{}, changed: make(chan struct{}, 100),
	}
}

func (c *cluster) Follow(ctx context.Context, pv string, told func(driver, volumeID, class string) error) {
	c.mu.Lock()
	c.followers[pv] = told
	c.mu.Unlock()
	c.changed <- struct{}{}
	<-ctx.Done()
	c.mu.Lock()
	c.ended[pv]++
	c.mu.Unlock()
	c.changed <- struct{}{}
}

func (c *cluster) Parameters(_ context.Context, class string) (string, map[string]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if class == "foreign" {
		return "other.example.com", map[string]string{"iops": "9"}, nil
	}
	p, ok := c.classes[class]
	if !ok {
		return "", nil, errors.New("not found")
	}
	return Name, p, nil
}

func (c *cluster) Changed(volumeID string, claim volume.Claim, class string) {
	c.told = append(c.told, fmt.Sprintf("%s of %s/%s is %s", volumeID, claim.Namespace, claim.Name, class))
}

// of is a claim's volume.
func of(pv string, policy map[string]string) func(*csi.NodeStageVolumeRequest) {
	return func(r *csi.NodeStageVolumeRequest) {
		maps.Copy(r.VolumeContext, map[string]string{
			"csi.storage.k8s.io/pvc/namespace": "shop", "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pv/name": pv,
		})
		maps.Copy(r.PublishContext, policy)
	}
}

func (r *rig) adopt(t *testing.T, c *cluster, class string) {
	t.Helper()
	if err := r.adoptClass(t.Context(), c, testID, class); err != nil {
		t.Error(err)
	}
}

// wantPolicy looks at the record, and at what the device was made to be.
func (r *rig) wantPolicy(t *testing.T, want staging.Policy, class string) {
	t.Helper()
	rec := r.recorded(t, testID)
	if diff := cmp.Diff(want, rec.Attachment.Policy); diff != "" {
		t.Errorf("in the record (-want +got):\n%s", diff)
	}
	if rec.Live == nil || rec.Live.Class != class {
		t.Errorf("class %+v, want %s", rec.Live, class)
	}
	if diff := cmp.Diff(attach.Policy(want), r.governed[rec.Attachment.WWID]); diff != "" {
		t.Errorf("of the device (-want +got):\n%s", diff)
	}
}

// TestAdoptClass: classes are applied one upon the other, as the controller does it, and each once.
func TestAdoptClass(t *testing.T) {
	r, c := newRig(t), newCluster()
	r.stageIt(t, stageRequest(of("pv-1", map[string]string{"pathSelector": "queue-length"})))
	r.adopt(t, c, "a")
	r.wantPolicy(t, staging.Policy{PathSelector: "queue-length", PreferredInterface: "san-a"}, "a")
	r.adopt(t, c, "slow")
	sum := staging.Policy{PathSelector: "round-robin", PreferredInterface: "san-a", NoPathRetry: "5m0s"}
	r.wantPolicy(t, sum, "slow")
	r.adopt(t, c, "slow")
	if c.asked != 2 || r.count("govern") != 2 {
		t.Errorf("%d classes read, %d maps changed", c.asked, r.count("govern"))
	}
	for _, bad := range []string{"wrong", "multi", "foreign", "gone"} {
		if err := r.adoptClass(t.Context(), c, testID, bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	r.wantPolicy(t, sum, "slow")
	r.adopt(t, c, "quick")
	sum.FailureDetection = "fast"
	r.wantPolicy(t, sum, "quick")
	r.adopt(t, c, "plain")
	r.wantPolicy(t, staging.Policy{}, "plain")
	r.adopt(t, c, "again plain")
	r.wantPolicy(t, staging.Policy{}, "again plain")
	told := []string{testID + " of shop/data is a", testID + " of shop/data is slow", testID + " of shop/data is quick", testID + " of shop/data is plain"}
	if diff := cmp.Diff(told, c.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if err := r.adoptClass(t.Context(), c, "stor1/fast/other", "a"); err != nil {
		t.Errorf("a volume that is not here: %v", err)
	}
}

// TestAdoptClassStays: over restarts, a kubelet that stages again with the publish context of before, and a reboot; what a new
// publish says goes before it.
func TestAdoptClassStays(t *testing.T) {
	r, c := newRig(t), newCluster()
	old := stageRequest(of("pv-1", map[string]string{"pathSelector": "queue-length"}))
	r.stageIt(t, old)
	r.adopt(t, c, "a")
	r.adopt(t, c, "slow")
	sum := staging.Policy{PathSelector: "round-robin", PreferredInterface: "san-a", NoPathRetry: "5m0s"}
	r.boot("boot-1")
	r.stageIt(t, old)
	r.wantPolicy(t, sum, "slow")
	r.boot("boot-2")
	r.stageIt(t, old)
	r.wantPolicy(t, sum, "slow")
	r.governed = map[string]attach.Policy{}
	if _, err := r.Node.Heal(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantPolicy(t, sum, "slow")
	r.stageIt(t, stageRequest(of("pv-1", map[string]string{"noPathRetry": "fail"})))
	if rec := r.recorded(t, testID); rec.Live != nil || rec.Attachment.Policy != (staging.Policy{NoPathRetry: "fail"}) {
		t.Errorf("after a new publish: %+v", rec)
	}
	r.unstageIt(t, testID)
	if err := r.adoptClass(t.Context(), c, testID, "plain"); err != nil || r.recorded(t, testID) != nil {
		t.Errorf("after unstage: %v", err)
	}
}

// TestAdoptClassFails: what the device refuses is left to healing, which has the record; a call under way is waited for.
func TestAdoptClassFails(t *testing.T) {
	r, c := newRig(t), newCluster()
	r.stageIt(t, stageRequest(of("pv-1", nil)))
	release, err := r.calls.acquire("volume " + testID)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.adoptClass(t.Context(), c, testID, "a"); code(err) != codes.Aborted {
		t.Errorf("beside a call: %v", err)
	}
	release()
	r.fail["govern"] = errors.New("multipathd is away")
	if err := r.adoptClass(t.Context(), c, testID, "a"); err == nil {
		t.Error("no error")
	}
	if _, err := r.Node.Heal(t.Context()); err == nil {
		t.Error("heal has no error")
	}
	delete(r.fail, "govern")
	if _, err := r.Node.Heal(t.Context()); err != nil {
		t.Error(err)
	}
	r.wantPolicy(t, staging.Policy{PreferredInterface: "san-a"}, "a")
}

func (c *cluster) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for {
		c.mu.Lock()
		done := ok()
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-c.changed:
		case <-time.After(20 * time.Second):
			t.Fatal(what)
		}
	}
}

// TestFollowClasses: each staged volume whose PersistentVolume is known is followed from stage to unstage, and anew when it is
// staged again; others' volumes under its name change nothing.
func TestFollowClasses(t *testing.T) {
	r, c := newRig(t), newCluster()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { r.FollowClasses(ctx, c) })
	req := stageRequest(of("pv-1", nil))
	r.stageIt(t, req)
	c.await(t, "not followed", func() bool { return c.followers["pv-1"] != nil })
	for _, of := range [][3]string{{"other.example.com", testID, "a"}, {Name, "stor1/fast/other", "a"}, {Name, testID, ""}} {
		if err := c.followers["pv-1"](of[0], of[1], of[2]); err != nil || c.asked != 0 {
			t.Errorf("%q: %v", of, err)
		}
	}
	if err := c.followers["pv-1"](Name, testID, "a"); err != nil {
		t.Error(err)
	}
	r.wantPolicy(t, staging.Policy{PreferredInterface: "san-a"}, "a")
	r.unstageIt(t, testID)
	c.await(t, "followed after unstage", func() bool { return c.ended["pv-1"] == 1 })
	delete(c.followers, "pv-1")
	r.stageIt(t, req)
	c.await(t, "not followed again", func() bool { return c.followers["pv-1"] != nil })
	cancel()
	done.Wait()
	if c.ended["pv-1"] != 2 {
		t.Errorf("ended %v", c.ended)
	}
}

// TestStaticPolicy: a static volume brings its policy along.
func TestStaticPolicy(t *testing.T) {
	r := newRig(t)
	r.stageIt(t, stageRequest(asStatic, func(r *csi.NodeStageVolumeRequest) {
		r.VolumeContext["preferredInterface"], r.VolumeContext["noPathRetry"] = "san-b", "300s"
	}))
	want := staging.Policy{PreferredInterface: "san-b", NoPathRetry: "5m0s"}
	if diff := cmp.Diff(want, r.recorded(t, "static/vol-1").Attachment.Policy); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
