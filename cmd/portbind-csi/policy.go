package main

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/volume"
)

// policyWork has volumes in use follow their VolumeAttributesClasses, where there is an API server that knows them. Without one a
// changed policy counts from the volume's next attachment.
func policyWork(ctx context.Context, flags nodeFlags, node *driver.Node, events *kube.Events) []func(context.Context) error {
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
	classes := followed{Classes: kube.NewClasses(client), node: flags.name, events: events}
	return []func(context.Context) error{background(func(ctx context.Context) { node.FollowClasses(ctx, classes) })}
}

// followed tells of changed policies by Events, if there are any.
type followed struct {
	*kube.Classes

	node   string
	events *kube.Events
}

// Changed implements driver.Classes.
func (f followed) Changed(volumeID string, claim volume.Claim, class string) {
	if f.events == nil {
		return
	}
	f.events.Post(pathwatch.Event{
		Volume: volumeID, Claim: claim, Reason: "PathPolicyChanged",
		Message: fmt.Sprintf("The paths on node %s are used as VolumeAttributesClass %s says", f.node, class),
	})
}
