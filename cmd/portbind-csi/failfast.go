package main

import (
	"context"
	"path/filepath"

	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/failfast"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi"
)

// newFailfast makes what moves I/O off a NIC that has lost its link.
func newFailfast(ctx context.Context, cfg driver.NodeConfig, bootID string, host *hostexec.Local) *failfast.Watcher {
	return failfast.New(ctx, failfast.Config{
		StateFile: filepath.Join(cfg.StateDir, "recovery-times.json"), BootID: bootID, Off: !cfg.InstantFailover,
		ISCSI: iscsi.New(iscsi.Options{Host: host}),
	})
}
