package kube

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

const (
	// lastNodeRetry is between watches that fail, in the end, and between gets where none may be had: it is one request for each node.
	lastNodeRetry = time.Minute
	// metadataOnly leaves out a node's status, which is most of it and changes all the time.
	metadataOnly = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
)

// Nodes gets and patches nodes, as client-go's NodeInterface does, and follows them. Options are not passed on: there is no use for
// them.
type Nodes struct {
	client *Client
	nodes  follower
}

// Nodes are the cluster's.
func (c *Client) Nodes() Nodes {
	return Nodes{client: c, nodes: follower{
		client: c, resource: "nodes", accept: metadataOnly, lasts: watchTime, first: firstRetry, last: lastNodeRetry,
	}}
}

// Get reads a node.
func (n Nodes) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.Node, error) {
	var node corev1.Node
	err := n.client.rest.Get().Resource("nodes").Name(name).Do(ctx).Into(&node)
	return &node, err
}

// Follow calls told with the metadata of a node: when it is first seen, when anything of the node changes, and every few minutes, until
// ctx ends. Where nodes may be got and not watched, it gets this one every minute.
func (n Nodes) Follow(ctx context.Context, name string, told func(metav1.Object)) {
	said := ""
	n.nodes.follow(ctx, name, func(object runtime.Object) error {
		said = ""
		if node, ok := object.(metav1.Object); ok {
			told(node)
		}
		return nil
	}, func(err error) {
		if apierrors.IsForbidden(err) {
			err = errors.Join(err, n.get(ctx, name, told))
		}
		if err.Error() != said {
			said = err.Error()
			complainOfNode(ctx, err)
		}
	})
}

func (n Nodes) get(ctx context.Context, name string, told func(metav1.Object)) error {
	node, err := n.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		told(node)
	}
	return err
}

func complainOfNode(ctx context.Context, err error) {
	text := "What changes of this node's labels and annotations is seen late"
	if apierrors.IsForbidden(err) {
		text += "; grant the node plugin get and watch of nodes"
	}
	klog.FromContext(ctx).Error(err, text)
}

// Patch changes a node.
func (n Nodes) Patch(
	ctx context.Context, name string, kind types.PatchType, patch []byte, _ metav1.PatchOptions, subresources ...string,
) (*corev1.Node, error) {
	var node corev1.Node
	err := n.client.rest.Patch(kind).Resource("nodes").Name(name).SubResource(subresources...).Body(patch).Do(ctx).Into(&node)
	return &node, err
}
