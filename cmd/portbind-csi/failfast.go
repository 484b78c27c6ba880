package main

import (
	"context"
	"path/filepath"

	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/failfast"
)

// newFailfast makes what moves I/O off a NIC that has lost its link.
func newFailfast(ctx context.Context, cfg driver.NodeConfig, bootID string) *failfast.Watcher {
	return failfast.New(ctx, failfast.Config{StateFile: filepath.Join(cfg.StateDir, "recovery-times.json"), BootID: bootID})
}
