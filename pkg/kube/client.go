// Package kube is what the node plugin has to do with Kubernetes' API server: Events that say what happened to a volume's
// paths, the classes that say how to use them, and the node's labels. Everything here may fail, be forbidden or be slow without holding
// up anything else.
package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// ErrNotInCluster says that this process runs in no pod: there is no API server to talk to.
var ErrNotInCluster = errors.New("not in a cluster")

const (
	// requestTime bounds each request.
	requestTime = 10 * time.Second
	// requestsPerSecond and requestBurst are of all requests of this process: a NIC that is lost concerns every volume of
	// a node, and perhaps every node.
	requestsPerSecond = 10
	requestBurst      = 50
)

// Client talks to one API server. It knows the core group only: all groups together would cost every node 8 MiB.
type Client struct {
	rest rest.Interface
	// stream is for watches, whose answers take as long as they are asked to.
	stream rest.Interface
	scheme *runtime.Scheme
}

// InCluster makes a client of what Kubernetes gives to a pod: ErrNotInCluster when this is none. It does not connect.
func InCluster() (*Client, error) {
	cfg, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return nil, ErrNotInCluster
	}
	if err != nil {
		return nil, fmt.Errorf("kube: %w", err)
	}
	return newClient(cfg)
}

func newClient(cfg *rest.Config) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("kube: %w", err)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.APIPath, cfg.GroupVersion = "/api", &corev1.SchemeGroupVersion
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg.Timeout, cfg.QPS, cfg.Burst = requestTime, requestsPerSecond, requestBurst
	cfg.UserAgent = "portbind-csi"
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("kube: %w", err)
	}
	cfg.Timeout = 0
	stream, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("kube: %w", err)
	}
	return &Client{rest: client, stream: stream, scheme: scheme}, nil
}

// claim gets a PersistentVolumeClaim.
func (c *Client) claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	var claim corev1.PersistentVolumeClaim
	err := c.rest.Get().Namespace(namespace).Resource("persistentvolumeclaims").Name(name).Do(ctx).Into(&claim)
	return &claim, err
}

func (c *Client) createEvent(ctx context.Context, e *corev1.Event) (*corev1.Event, error) {
	var made corev1.Event
	err := c.rest.Post().Namespace(e.Namespace).Resource("events").Body(e).Do(ctx).Into(&made)
	return &made, err
}

// patchEvent changes the event that is there, such as its count.
func (c *Client) patchEvent(ctx context.Context, e *corev1.Event, patch []byte) (*corev1.Event, error) {
	var made corev1.Event
	err := c.rest.Patch(types.StrategicMergePatchType).Namespace(e.Namespace).Resource("events").Name(e.Name).
		Body(patch).Do(ctx).Into(&made)
	return &made, err
}
