//go:build lab

package guests

import (
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestTargetPowerFailure shows the whole stack over several guests: the target host loses power under writes.
func TestTargetPowerFailure(t *testing.T) {
	c := labenv.NewCluster(t)
	target := c.Guest("target").StartTarget()
	node := c.Guest("node1").StartNode()
	s := node.Stack(c.Controller(target.Target), target)
	v := s.Create("block", 64<<20, labenv.Block, nil)
	v.Up()
	w := node.Writer(v.TargetPath)
	acked := func() uint64 {
		r, err := w.Result()
		if err != nil {
			t.Fatal(err)
		}
		return r.Acked
	}
	c.Eventually(30*time.Second, "writes", func() bool { return acked() > 100 })
	target.Kill()
	target.Boot()
	target.Serve()
	before := acked()
	c.Eventually(time.Minute, "writes go on", func() bool { return acked() > before+100 })
	r, err := w.Stop()
	t.Logf("%d writes acknowledged, longest stall %v", r.Acked, r.Stall)
	if err != nil {
		t.Error(err)
	}
	if err := w.Verify(); err != nil {
		t.Error(err)
	}
	// The controller's connection died with the host; its first call finds out, and callers of CSI try again.
	c.Eventually(30*time.Second, "the controller reaches the target", func() bool {
		ctx, cancel := c.Context(5 * time.Second)
		defer cancel()
		_, err := s.Controller.Controller.GetCapacity(ctx, &csi.GetCapacityRequest{})
		return err == nil
	})
	v.Down()
}
