//go:build lab

// Package shared holds the scenarios of one volume and two nodes, each host in a guest of its own.
package shared

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

// scene is a target host and two nodes.
type scene struct {
	*labenv.Cluster
	t            *testing.T
	target       *labenv.TargetGuest
	node1, node2 *labenv.NodeGuest
	on1, on2     *labenv.Stack
}

func newScene(t *testing.T) *scene {
	t.Helper()
	c := labenv.NewCluster(t)
	s := &scene{Cluster: c, t: t, target: c.Guest("target").StartTarget()}
	s.node1, s.node2 = c.Guest("node1").StartNode(), c.Guest("node2").StartNode()
	controller := c.Controller(s.target.Target)
	s.on1, s.on2 = s.node1.Stack(controller, s.target), s.node2.Stack(controller, s.target)
	return s
}

// head reads the writer's region of a device past the cache, and the highest number in it (hack/lab/writer).
func (s *scene) head(n *labenv.NodeGuest, device string) (region string, last uint64) {
	s.t.Helper()
	region = n.Run("sh", "-c", "dd if="+device+" bs=1M count=1 iflag=direct status=none | base64 -w0")
	data, err := base64.StdEncoding.DecodeString(region)
	if err != nil {
		s.t.Fatal(err)
	}
	for at := 0; at+4096 <= len(data); at += 4096 {
		last = max(last, binary.LittleEndian.Uint64(data[at:]))
	}
	return region, last
}

func (s *scene) step(what string, call func(context.Context) error) {
	s.t.Helper()
	ctx, cancel := s.Context(3 * time.Minute)
	defer cancel()
	start := time.Now()
	if err := call(ctx); err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
	s.t.Logf("%s: %.1f s", what, time.Since(start).Seconds())
}

func (s *scene) acked(w *labenv.RemoteWriter) uint64 {
	s.t.Helper()
	r, err := w.Result()
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Acked
}

// TestCutOffNode is SCORECARD row 12 without Kubernetes: a node is cut off under writes, its volume is taken from it
// and goes to another node. What was acknowledged is there, and the old node, back again, cannot write.
func TestCutOffNode(t *testing.T) {
	s := newScene(t)
	v1 := s.on1.Create("moved", 64<<20, labenv.Block, nil)
	v1.Up()
	w := s.node1.Writer(v1.TargetPath)
	s.Eventually(30*time.Second, "writes", func() bool { return s.acked(w) > 100 })

	for _, nic := range []string{"san0", "san1"} {
		s.node1.LinkDown(nic)
	}
	s.step("unpublish from the node that is cut off", v1.ControllerUnpublish)
	acked := s.acked(w)
	v2 := s.on2.Adopt(v1.Volume, labenv.Block)
	v2.Up()
	before, last := s.head(s.node2, v2.TargetPath)
	// One write may have landed without its acknowledgement getting through.
	if last < acked || last > acked+1 {
		t.Errorf("%d writes were acknowledged, the last on the volume is %d", acked, last)
	}

	for _, nic := range []string{"san0", "san1"} {
		s.node1.LinkUp(nic)
	}
	s.Eventually(time.Minute, "the old node reaches the portals again", func() bool {
		_, err := s.node1.Try(5*time.Second, "ping", "-c", "1", "-W", "1", s.target.San[0])
		return err == nil
	})
	// The old node learns that the volume is not its own any more: what waits fails, and can be taken away.
	s.writesFail(w)
	if after, now := s.head(s.node2, v2.TargetPath); after != before {
		t.Errorf("the old node wrote: the last write was %d and is %d", last, now)
	}
	// The acknowledgement of a write that had landed may get through now, by TCP.
	if r, _ := w.Result(); r.Acked > last {
		t.Errorf("the old node has %d writes acknowledged, the last on the volume is %d", r.Acked, last)
	}
	s.step("unpublish on the old node", v1.Unpublish)
	s.step("unstage on the old node", v1.Unstage)
	v2.Down()
}

// writesFail waits until the writer's writes fail instead of waiting.
func (s *scene) writesFail(w *labenv.RemoteWriter) {
	s.t.Helper()
	took := s.Eventually(90*time.Second, "writes to fail", func() bool { _, err := w.Result(); return err != nil })
	_, err := w.Result()
	s.t.Logf("writes fail after %.1f s: %v", took.Seconds(), err)
}

// TestTakenAndGivenBack takes one of two volumes from a node that is well: its writes fail in the end, the other volume's go
// on. Given back, it can be written again, and waits for lost paths again.
func TestTakenAndGivenBack(t *testing.T) {
	s := newScene(t)
	kept := s.on1.Create("kept", 64<<20, labenv.Block, nil)
	kept.Up()
	taken := s.on1.Create("taken", 64<<20, labenv.Block, nil)
	taken.Up()
	other, w := s.node1.Writer(kept.TargetPath), s.node1.Writer(taken.TargetPath)
	s.Eventually(time.Minute, "writes", func() bool { return s.acked(other) > 50 && s.acked(w) > 50 })

	s.step("take the volume away", taken.ControllerUnpublish)
	s.writesFail(w)
	before := s.acked(other)
	s.Eventually(time.Minute, "the other volume goes on", func() bool { return s.acked(other) > before+50 })

	s.step("give it back", taken.ControllerPublish)
	s.Eventually(time.Minute, "I/O waits for paths again", func() bool {
		return strings.Contains(s.node1.Run("dmsetup", "table", taken.Map()), "queue_if_no_path")
	})
	s.node1.Run("sh", "-c", "yes portbind | dd of="+taken.TargetPath+" bs=64k count=1 oflag=direct iflag=fullblock status=none")
	if r, err := other.Stop(); err != nil {
		t.Errorf("the volume that was kept: %+v, %v", r, err)
	}
	taken.Down()
	kept.Down()
}

// TestTwoWriters has one raw block volume on two nodes at once, and takes it from one of them while the other writes.
func TestTwoWriters(t *testing.T) {
	s := newScene(t)
	both := &csi.VolumeCapability{
		AccessType: labenv.Block.GetAccessType(),
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}
	v1 := s.on1.Create("shared", 64<<20, both, nil)
	v1.Up()
	v2 := s.on2.Adopt(v1.Volume, both)
	v2.Up()

	// Node 1 writes behind the writer's region, node 2 reads it.
	s.node1.Run("sh", "-c", "yes portbind | dd of="+v1.TargetPath+" bs=64k count=1 seek=32 oflag=direct iflag=fullblock status=none")
	read := func(n *labenv.NodeGuest, device string) string {
		return n.Run("sh", "-c", "dd if="+device+" bs=64k count=1 skip=32 iflag=direct status=none | head -c 18")
	}
	for _, got := range []string{read(s.node1, v1.TargetPath), read(s.node2, v2.TargetPath)} {
		if got != "portbind\nportbind\n" {
			t.Errorf("read back: %q", got)
		}
	}

	w := s.node2.Writer(v2.TargetPath)
	s.Eventually(30*time.Second, "node 2 writes", func() bool { return s.acked(w) > 100 })
	s.step("unpublish from node 1", v1.Unpublish)
	s.step("unstage from node 1", v1.Unstage)
	s.step("fence node 1", v1.ControllerUnpublish)
	before := s.acked(w)
	s.Eventually(30*time.Second, "node 2 goes on", func() bool { return s.acked(w) > before+100 })
	r, err := w.Stop()
	if err != nil {
		t.Error(err)
	}
	t.Logf("node 2: %d writes acknowledged, longest stall %v", r.Acked, r.Stall)
	if err := w.Verify(); err != nil {
		t.Error(err)
	}
	v2.Down()
}
