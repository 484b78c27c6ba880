package main

import (
	"context"
	"fmt"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/selection"
)

// newSource gives the interfaces of this node. The API server is asked only when they depend on it.
func newSource(ctx context.Context, name string, cfg driver.NodeConfig) (*selection.Source, error) {
	o := selection.Options{Base: cfg.Binding(), Annotated: cfg.NodeAnnotation, File: filepath.Join(cfg.StateDir, "node.json")}
	if !o.Base.Selects() && !o.Annotated {
		return selection.Open(ctx, o)
	}
	client, err := kube.InCluster()
	if err != nil {
		return nil, fmt.Errorf("interfaces[].nodeSelector and nodeAnnotation need to know this node: %w", err)
	}
	nodes := client.Nodes()
	o.Node = func(ctx context.Context) (selection.Facts, error) {
		node, err := nodes.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return selection.Facts{}, fmt.Errorf("get node %q: %w", name, err)
		}
		return facts(node), nil
	}
	o.Follow = func(ctx context.Context, told func(selection.Facts)) {
		nodes.Follow(ctx, name, func(node metav1.Object) { told(facts(node)) })
	}
	return selection.Open(ctx, o)
}

func facts(node metav1.Object) selection.Facts {
	return selection.Facts{Labels: node.GetLabels(), Annotations: node.GetAnnotations()}
}
