package main

import (
	"context"
	"errors"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/kube"
)

// policyWork has volumes in use follow their VolumeAttributesClasses, where there is an API server that knows them. Without one a
// changed policy counts from the volume's next attachment.
func policyWork(ctx context.Context, flags nodeFlags, node *driver.Node) []func(context.Context) error {
	if !flags.livePolicy {
		return nil
	}
	client, err := kube.InCluster()
	switch {
	case errors.Is(err, kube.ErrNotInCluster):
		klog.FromContext(ctx).Info("Not in a cluster: path policies change when volumes are attached")
		return nil
	case err != nil:
		klog.FromContext(ctx).Error(err, "Path policies change only when volumes are attached")
		return nil
	}
	classes := kube.NewClasses(client)
	return []func(context.Context) error{background(func(ctx context.Context) { node.FollowClasses(ctx, classes) })}
}
