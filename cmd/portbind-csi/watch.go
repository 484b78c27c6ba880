package main

import (
	"context"
	"errors"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/sysfs"
)

// newWatcher makes the watcher of the volumes' paths, and gives what has to run for it.
func newWatcher(
	flags nodeFlags, node *driver.Node, events *kube.Events,
) (*pathwatch.Watcher, []func(context.Context) error) {
	cfg := pathwatch.Config{Node: flags.name, View: node.View}
	var work []func(context.Context) error
	if events != nil {
		cfg.Tell = events.Post
		work = append(work, background(events.Run))
	}
	watcher := pathwatch.New(cfg)
	return watcher, append(work, background(watcher.Run), background(func(ctx context.Context) {
		if err := sysfs.WatchPaths(ctx, watcher.Poke); err != nil {
			klog.FromContext(ctx).Error(err, "Failed paths are noticed later")
		}
	}))
}

// newEvents are the events in Kubernetes; nil where there is no API server to tell, or it is not to be told. Volumes do not depend on it.
func newEvents(ctx context.Context, flags nodeFlags) *kube.Events {
	if !flags.events {
		return nil
	}
	client, err := kube.InCluster()
	switch {
	case errors.Is(err, kube.ErrNotInCluster):
		klog.FromContext(ctx).Info("Not in a cluster: no events are written")
		return nil
	case err != nil:
		klog.FromContext(ctx).Error(err, "No events are written")
		return nil
	}
	return kube.NewEvents(client, driver.Name, flags.name)
}

// background is work that ends without an error.
func background(run func(context.Context)) func(context.Context) error {
	return func(ctx context.Context) error {
		run(ctx)
		return nil
	}
}
