package member

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	containerdRoot   = "/var/lib/containerd"
	containerdSocket = "/run/containerd/containerd.sock"
	// bakedSuffix takes the place of an image archive's .tar in the name of what Bake made of it.
	bakedSuffix = ".base"
)

// Bake imports an archive of images into a containerd of its own and saves containerd's state as DIR/NAME.base, for nodes to begin
// with: unpacking that takes a fraction of an import's time.
func (m *Member) Bake(ctx context.Context, archive, dir string) error {
	if err := os.MkdirAll(containerdRoot, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", containerdRoot, "tmpfs", 0, "size=80%"); err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	if err := write(m.nodeFiles()); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	m.daemons, running = errgroup.WithContext(running)
	m.containerd(running)
	if err := m.answers(running, "containerd", containerdSocket); err != nil {
		return err
	}
	if err := m.importArchive(running, archive); err != nil {
		return err
	}
	stop()
	if err := m.daemons.Wait(); err != nil {
		return err
	}
	to := filepath.Join(dir, baked(archive))
	return m.Log.Step("saving what was imported", func() error { return run(ctx, "tar", "-C", containerdRoot, "-cf", to, ".") })
}

func baked(archive string) string {
	return strings.TrimSuffix(filepath.Base(archive), ".tar") + bakedSuffix
}

// unpackBaked gives a new disk what Bake made, and marks the archives of it as imported.
func (m *Member) unpackBaked(ctx context.Context) error {
	states, err := filepath.Glob(filepath.Join(m.Layout.Images(), "*"+bakedSuffix))
	if err != nil || len(states) == 0 {
		return err
	}
	state := states[0] // there is one archive of this kind
	err = m.Log.Step("images", func() error { return run(ctx, "tar", "-C", containerdRoot, "-xf", state) })
	if err != nil {
		return err
	}
	return mark(strings.TrimSuffix(filepath.Base(state), bakedSuffix) + ".tar")
}
