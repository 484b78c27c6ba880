package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Nodes gets and patches nodes, as client-go's NodeInterface does. Options are not passed on: there is no use for them.
type Nodes struct{ client *Client }

// Nodes are the cluster's.
func (c *Client) Nodes() Nodes { return Nodes{c} }

// Get reads a node.
func (n Nodes) Get(ctx context.Context, name string, _ metav1.GetOptions) (*corev1.Node, error) {
	var node corev1.Node
	err := n.client.rest.Get().Resource("nodes").Name(name).Do(ctx).Into(&node)
	return &node, err
}

// Patch changes a node.
func (n Nodes) Patch(
	ctx context.Context, name string, kind types.PatchType, patch []byte, _ metav1.PatchOptions, subresources ...string,
) (*corev1.Node, error) {
	var node corev1.Node
	err := n.client.rest.Patch(kind).Resource("nodes").Name(name).SubResource(subresources...).Body(patch).Do(ctx).Into(&node)
	return &node, err
}
