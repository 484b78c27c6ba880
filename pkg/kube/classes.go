package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/klog/v2"
)

const (
	// watchTime is how long a watch lasts at least, and half of the most: a connection that died unseen is noticed then.
	watchTime = 5 * time.Minute
	// firstRetry and lastRetry are between watches that fail.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// lasted is how long a watch must have gone well for the next failure to be a first one.
	lasted = time.Minute

	classesPath = "/apis/storage.k8s.io/v1/volumeattributesclasses"
)

// Classes tells which VolumeAttributesClass a PersistentVolume has. It watches each volume by itself: a node has tens, of what may be
// thousands in the cluster, and learns of no other.
type Classes struct {
	client     *Client
	retry      time.Duration
	complaints complaints
}

// NewClasses asks over a client of its own: its watches and requests are many when volumes are, and others must not wait for them.
func NewClasses(client *Client) *Classes { return &Classes{client: client, retry: firstRetry} }

// Follow calls told with what the PersistentVolume of that name says: when it is first seen, when it changes, every few minutes,
// and again after told has failed, until ctx ends.
func (c *Classes) Follow(ctx context.Context, pv string, told func(driver, volumeID, class string) error) {
	pause := c.retry
	for {
		began := time.Now()
		if err := c.watch(ctx, pv, told); err != nil && ctx.Err() == nil {
			c.complain(ctx, pv, err)
		}
		if time.Since(began) >= lasted {
			pause = c.retry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jittered(pause)):
		}
		pause = min(2*pause, lastRetry)
	}
}

// jittered is d or up to half more: an API server that comes back is not asked by everybody at once.
func jittered(d time.Duration) time.Duration {
	return d + rand.N(d/2+1) //nolint:gosec // no secret
}

func (c *Classes) complain(ctx context.Context, pv string, err error) {
	text := "A volume's policy does not follow its VolumeAttributesClass now; what changes counts from the next attachment at the latest"
	if apierrors.IsForbidden(err) {
		text += "; grant the node plugin watch of persistentvolumes and get of volumeattributesclasses, or run it with --live-policy=false"
	}
	c.complaints.log(klog.NewContext(ctx, klog.FromContext(ctx).WithValues("persistentVolume", pv)), err, text)
}

// watch gets the PersistentVolume and its changes, until the API server ends it.
func (c *Classes) watch(ctx context.Context, pv string, told func(driver, volumeID, class string) error) error {
	seconds := int64(jittered(watchTime).Seconds())
	w, err := c.client.stream.Get().Resource("persistentvolumes").VersionedParams(&metav1.ListOptions{
		FieldSelector: "metadata.name=" + pv, Watch: true, TimeoutSeconds: &seconds,
	}, metav1.ParameterCodec).Watch(ctx)
	if err != nil {
		return fmt.Errorf("watch PersistentVolume %s: %w", pv, err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		switch event.Type {
		case watch.Error:
			return fmt.Errorf("watch PersistentVolume %s: %w", pv, apierrors.FromObject(event.Object))
		case watch.Added, watch.Modified:
			if err := tell(event.Object, told); err != nil {
				return err
			}
		case watch.Deleted, watch.Bookmark:
		}
	}
	return nil
}

func tell(object any, told func(driver, volumeID, class string) error) error {
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
