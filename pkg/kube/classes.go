package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
)

const (
	// lastRetry is between watches that fail, in the end: they are one for each volume.
	lastRetry = 5 * time.Minute

	classesPath = "/apis/storage.k8s.io/v1/volumeattributesclasses"
)

// Classes tells which VolumeAttributesClass a PersistentVolume has. It watches each volume by itself: a node has tens, of what may be
// thousands in the cluster, and learns of no other.
type Classes struct {
	client     *Client
	volumes    follower
	complaints complaints
}

// NewClasses asks over a client of its own: its watches and requests are many when volumes are, and others must not wait for them.
func NewClasses(client *Client) *Classes {
	return &Classes{client: client, volumes: follower{
		client: client, resource: "persistentvolumes", lasts: watchTime, first: firstRetry, last: lastRetry,
	}}
}

// Follow calls told with what the PersistentVolume of that name says: when it is first seen, when it changes, every few minutes,
// and again after told has failed, until ctx ends.
func (c *Classes) Follow(ctx context.Context, pv string, told func(driver, volumeID, class string) error) {
	c.volumes.follow(ctx, pv,
		func(object runtime.Object) error { return tell(object, told) },
		func(err error) { c.complain(ctx, pv, err) })
}

func (c *Classes) complain(ctx context.Context, pv string, err error) {
	text := "A volume's policy does not follow its VolumeAttributesClass now; what changes counts from the next attachment at the latest"
	if apierrors.IsForbidden(err) {
		text += "; grant the node plugin watch of persistentvolumes and get of volumeattributesclasses, or run it with --live-policy=false"
	}
	c.complaints.log(klog.NewContext(ctx, klog.FromContext(ctx).WithValues("persistentVolume", pv)), err, text)
}

func tell(object runtime.Object, told func(driver, volumeID, class string) error) error {
	v, ok := object.(*corev1.PersistentVolume)
	if !ok || v.Spec.CSI == nil {
		return nil
	}
	class := ""
	if v.Spec.VolumeAttributesClassName != nil {
		class = *v.Spec.VolumeAttributesClassName
	}
	return told(v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle, class)
}

// Parameters gives the driver and the parameters of a VolumeAttributesClass.
func (c *Classes) Parameters(ctx context.Context, class string) (driver string, parameters map[string]string, err error) {
	result := c.client.rest.Get().AbsPath(classesPath, class).Do(ctx)
	if err := result.Error(); err != nil {
		return "", nil, fmt.Errorf("get: %w", err)
	}
	raw, err := result.Raw()
	if err != nil {
		return "", nil, fmt.Errorf("get: %w", err)
	}
	var object struct {
		DriverName string            `json:"driverName"`
		Parameters map[string]string `json:"parameters"`
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return "", nil, fmt.Errorf("get: %w", err)
	}
	return object.DriverName, object.Parameters, nil
}
