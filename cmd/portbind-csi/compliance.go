package main

import (
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/pathwatch"
)

// newJudge makes the watcher of the interfaces' compliance; events may be nil.
func newJudge(node *driver.Node, events *kube.Events) *compliance.Watcher {
	cfg := compliance.Config{Node: compliance.Node{Interfaces: node.Interfaces, Demands: node.Demands, Proc: "/proc"}}
	if events != nil {
		cfg.Tell = func(e compliance.Event) {
			events.Post(pathwatch.Event{Warning: e.Warning, Reason: e.Reason, Message: e.Message})
		}
	}
	return compliance.New(cfg)
}
