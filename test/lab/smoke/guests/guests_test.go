//go:build lab

// Package guests shows that several guests work: commands, connections, links, power failures, and disks that survive.
package guests

import (
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

func TestGuests(t *testing.T) {
	c := labenv.NewCluster(t)
	target, node := c.Guest("target"), c.Guest("node1")
	for _, portal := range target.San {
		node.Run("ping", "-c", "1", "-W", "2", "-I", "san1", portal)
	}
	c.Run("ping", "-c", "1", "-W", "2", node.Mgmt)

	node.LinkDown("san1")
	if _, err := node.Try(5*time.Second, "ping", "-c", "1", "-W", "1", "-I", "san1", target.San[0]); err == nil {
		t.Error("ping went through a link that is down")
	}
	node.LinkUp("san1")
	node.Run("ping", "-c", "1", "-W", "2", "-I", "san1", target.San[0])
}

func TestPowerFailure(t *testing.T) {
	c := labenv.NewCluster(t)
	target := c.Guest("target")
	target.Run("vgcreate", "-q", "labvg", "/dev/disk/lab/0")
	target.Run("lvcreate", "-q", "-an", "-L", "64M", "-n", "lv", "labvg")
	target.WriteFile("/var/lib/portbind-targetd/note", []byte("kept"))
	target.Kill()
	target.Boot()
	if out := target.Run("lvs", "--noheadings", "-o", "lv_name", "labvg"); strings.TrimSpace(out) != "lv" {
		t.Errorf("logical volumes after the power failure: %q", out)
	}
	if out := target.Run("cat", "/var/lib/portbind-targetd/note"); out != "kept" {
		t.Errorf("state after the power failure: %q", out)
	}
	target.Run("vgremove", "-q", "-y", "labvg")
}

func TestWriter(t *testing.T) {
	c := labenv.NewCluster(t)
	t.Cleanup(c.Guest("target").Wipe)
	w := c.Guest("target").Writer("/dev/disk/lab/0")
	c.Eventually(10*time.Second, "a hundred writes", func() bool {
		r, err := w.Result()
		return err == nil && r.Acked > 100
	})
	if _, err := w.Stop(); err != nil {
		t.Error(err)
	}
	if err := w.Verify(); err != nil {
		t.Error(err)
	}
	c.Guest("target").Crash()
}
