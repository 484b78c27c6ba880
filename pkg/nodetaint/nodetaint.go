// Package nodetaint takes the start-up taint from a node once volumes can be attached to it. Nodes are registered with the taint
// so that no pod comes before its volumes can.
package nodetaint

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// interval is between two looks at whether the node is ready, and between two attempts to say so.
const interval = 2 * time.Second

// Nodes is what is needed of the API server; client-go's NodeInterface is one, and so is kube.Nodes.
type Nodes interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.Node, error)
	Patch(
		ctx context.Context, name string, kind types.PatchType, patch []byte, o metav1.PatchOptions, subresources ...string,
	) (*corev1.Node, error)
}

// Remover removes one taint, whatever its effect and value, from one node.
type Remover struct {
	Nodes Nodes
	// Node is the name in the cluster of the node that this process runs on.
	Node string
	// Key is the taint's.
	Key string
	// Ready says whether volumes can be attached, or what is missing. It is asked until it gives nil.
	Ready func(ctx context.Context) error
	// tick gives the time between attempts; tests have their own.
	tick <-chan time.Time
}

// Run waits until the node is ready, removes the taint and returns: a taint that somebody sets later is theirs. What keeps it from
// doing so is logged whenever it changes. It always returns nil, so that nothing else ends with it.
func (r *Remover) Run(ctx context.Context) error {
	tick := r.tick
	if tick == nil {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	log, said := klog.FromContext(ctx).WithValues("taint", r.Key), ""
	for {
		err := r.attempt(ctx)
		if err == nil {
			return nil
		}
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			log.Info("The start-up taint stays", "reason", said)
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *Remover) attempt(ctx context.Context) error {
	if err := r.Ready(ctx); err != nil {
		return err
	}
	node, err := r.Nodes.Get(ctx, r.Node, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get node %s: %w", r.Node, err)
	}
	others := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool { return t.Key == r.Key })
	if len(others) == len(node.Spec.Taints) {
		return nil
	}
	patch, err := replaceTaints(node.ResourceVersion, others)
	if err != nil {
		return err
	}
	if _, err := r.Nodes.Patch(ctx, r.Node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch node %s: %w", r.Node, err)
	}
	klog.FromContext(ctx).Info("Volumes can be attached: the start-up taint is removed", "taint", r.Key)
	return nil
}

// replaceTaints makes a merge patch, which has a list replaced as a whole; the version keeps it from undoing what others change
// meanwhile.
func replaceTaints(version string, taints []corev1.Taint) ([]byte, error) {
	type spec struct {
		Taints []corev1.Taint `json:"taints"`
	}
	if len(taints) == 0 {
		taints = nil
	}
	return json.Marshal(map[string]any{
		"metadata": map[string]string{"resourceVersion": version},
		"spec":     spec{Taints: taints},
	})
}
