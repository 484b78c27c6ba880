package main

import (
	"path/filepath"

	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/pathwatch"
)

// procDir is where procfs is.
const procDir = "/proc"

// newKeeper makes what sets the kernel's settings for the interfaces, or puts them back.
func newKeeper(cfg driver.NodeConfig, bootID string) *compliance.Keeper {
	return &compliance.Keeper{
		Proc: procDir, File: filepath.Join(cfg.StateDir, "sysctls.json"), BootID: bootID, Manage: cfg.ManageSysctls,
	}
}

// newJudge makes the watcher of the interfaces' compliance; events may be nil.
func newJudge(node *driver.Node, keeper *compliance.Keeper, events *kube.Events) *compliance.Watcher {
	cfg := compliance.Config{
		Node: compliance.Node{Interfaces: node.Interfaces, Demands: node.Demands, Proc: procDir}, Keeper: keeper,
	}
	if events != nil {
		cfg.Tell = func(e compliance.Event) {
			events.Post(pathwatch.Event{Warning: e.Warning, Reason: e.Reason, Message: e.Message})
		}
	}
	return compliance.New(cfg)
}
