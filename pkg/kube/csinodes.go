package kube

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const csiNodesPath = "/apis/storage.k8s.io/v1/csinodes"

// csiNodes is what is needed of a storage.k8s.io/v1 CSINodeList.
type csiNodes struct {
	Items []struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
		Spec struct {
			Drivers []struct {
				Name   string `json:"name"`
				NodeID string `json:"nodeID"`
			} `json:"drivers"`
		} `json:"spec"`
	} `json:"items"`
}

// Announcers names the nodes for which kubelet has registered a driver with that node id.
func (c *Client) Announcers(ctx context.Context, driver, id string) ([]string, error) {
	// "0" is what the API server has in its cache: thousands of nodes may ask.
	raw, err := c.rest.Get().AbsPath(csiNodesPath).Param("resourceVersion", "0").Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("list CSINodes: %w", err)
	}
	var list csiNodes
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("list CSINodes: %w", err)
	}
	var names []string
	for _, node := range list.Items {
		for _, d := range node.Spec.Drivers {
			if d.Name == driver && d.NodeID == id {
				names = append(names, node.Metadata.Name)
			}
		}
	}
	return names, nil
}

// Exists says whether the cluster has a node of that name.
func (c *Client) Exists(ctx context.Context, node string) (bool, error) {
	var n corev1.Node
	err := c.rest.Get().Resource("nodes").Name(node).Do(ctx).Into(&n)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get node %s: %w", node, err)
	}
	return true, nil
}

// Barred says of an error that asking again would not help: the account may not ask.
func Barred(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }
