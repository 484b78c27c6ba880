//go:build lab

package smoke

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestVolumeLife shows that a whole stack works in the lab: one volume there and back.
func TestVolumeLife(t *testing.T) {
	s := labenv.NewStack(t, labenv.StackOptions{})
	v := s.Create("smoke", 128<<20, labenv.MountExt4, nil)
	v.Up()
	if n := len(labenv.MapPaths(v.Map())); n != 4 {
		t.Errorf("%d paths in the map, want 4", n)
	}
	if err := os.WriteFile(filepath.Join(v.TargetPath, "file"), []byte("hello"), 0o600); err != nil {
		t.Error(err)
	}
	v.Down()
	s.Node.Stop() // idle sessions are kept for the next volume; the test's end is the node's
	t.Logf("sessions kept: %d", len(labenv.Sessions()))
}
