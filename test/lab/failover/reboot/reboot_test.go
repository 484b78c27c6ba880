//go:build lab

// Package reboot takes the power from a target host, a machine of its own, while a node writes.
package reboot

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

const mib = 1 << 20

// TestTargetReboot: scorecard row 7. The host loses its power under writes and comes back: writes resume, what was
// acknowledged is there, every export is as it was, and nobody did anything.
func TestTargetReboot(t *testing.T) {
	c := labenv.NewCluster(t)
	target, node := c.Guest("target").StartTarget(), c.Guest("node").StartNode()
	s := node.Stack(c.Controller(target.Target), target)
	v := s.Create("reboot", 256*mib, labenv.MountExt4, nil)
	idle := s.Create("idle", 64*mib, labenv.MountExt4, nil) // exists and is not published: it must not be afterwards, either
	v.Up()
	before := exports(target)
	sum := checksum(node, v)
	w := node.Writer(filepath.Join(v.TargetPath, "journal"))
	c.Eventually(30*time.Second, "writes to begin", func() bool { return result(t, w).Acked > 100 })

	start := time.Now()
	target.Kill()
	target.Boot()
	target.Serve()
	t.Logf("the target host was away for %v", time.Since(start).Round(time.Second))
	up := time.Now()
	acked := result(t, w).Acked
	c.Eventually(time.Minute, "writes to go on", func() bool { return result(t, w).Acked > acked+10 })
	t.Logf("writes go on %v after the target daemon was ready", time.Since(up).Round(time.Millisecond))
	if took := time.Since(up); took > 15*time.Second {
		t.Errorf("writes resumed %v after the target was back; allowed: 15 s", took)
	}
	waitPaths(t, c, node, 4)
	t.Logf("all paths %v after the target daemon was ready", time.Since(up).Round(time.Millisecond))

	if after := exports(target); !slices.Equal(before, after) {
		t.Errorf("exports before: %v; after: %v", before, after)
	}
	r, err := w.Stop()
	if err != nil || r.Err != nil {
		t.Errorf("the writer failed: %v %v", err, r.Err)
	}
	t.Logf("%d writes, longest %v", r.Acked, r.Stall)
	if err := w.Verify(); err != nil {
		t.Errorf("acknowledged writes are not there: %v", err)
	}
	node.Run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
	if now := checksum(node, v); now != sum {
		t.Errorf("checksum before: %s; after: %s", sum, now)
	}
	node.Run("touch", filepath.Join(v.TargetPath, "still-writable"))
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	for name, call := range map[string]func(context.Context) error{
		"ControllerPublishVolume": v.ControllerPublish, "NodeStageVolume": v.Stage, "NodePublishVolume": v.Publish, "DeleteVolume": idle.Delete,
	} {
		if err := call(ctx); err != nil {
			t.Errorf("%s after the reboot: %v", name, err)
		}
	}
	v.Down()
}

// checksum writes a file, once, and gives the hash of what the device has of it.
func checksum(n *labenv.NodeGuest, v *labenv.Volume) string {
	file := filepath.Join(v.TargetPath, "data")
	return strings.TrimSpace(n.Run("sh", "-c",
		`[ -e "$0" ] || dd if=/dev/urandom of="$0" bs=1M count=8 conv=fsync status=none; sha256sum < "$0"`, file))
}

func exports(g *labenv.TargetGuest) []string {
	out := g.Run("sh", "-c", "cd /sys/kernel/config/target/iscsi && ls -d iqn.*/tpgt_*/lun/lun_* iqn.*/tpgt_*/acls/*/lun_* iqn.*/tpgt_*/np/*")
	return strings.Fields(out)
}

func result(t *testing.T, w *labenv.RemoteWriter) labenv.WriterResult {
	t.Helper()
	r, err := w.Result()
	if err != nil || r.Err != nil {
		t.Fatalf("the writer failed: %v %v", err, r.Err)
	}
	return r
}

// waitPaths asks multipathd for the paths that are active and pass its check.
func waitPaths(t *testing.T, c *labenv.Cluster, n *labenv.NodeGuest, want int) {
	t.Helper()
	c.Eventually(time.Minute, "all paths active", func() bool {
		out, err := n.Try(20*time.Second, "multipathd", "show", "paths", "raw", "format", "%t %T")
		return err == nil && strings.Count(out, "active ready") == want
	})
}
