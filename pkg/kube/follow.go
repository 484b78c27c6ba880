package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// watchTime is how long a watch lasts at least, and half of the most: a connection that died unseen is noticed then.
	watchTime = 5 * time.Minute
	// firstRetry is after the first watch that fails.
	firstRetry = time.Second
	// lasted is how long a watch must have gone well for the next failure to be a first one.
	lasted = time.Minute
)

// follower watches single objects of one resource. A watch without a resource version begins with the object as it is: neither get nor
// list is needed, and beginning anew is also the retry.
type follower struct {
	client   *Client
	resource string
	// accept is what the objects are asked as; "": whole.
	accept string
	// lasts is how long a watch does at least; first and last are the pauses between watches that fail.
	lasts, first, last time.Duration
}

// follow calls told with the object of that name: when it is first seen, when it changes, every few minutes, and again after told has
// failed, until ctx ends. What went wrong with a watch is for failed.
func (f follower) follow(ctx context.Context, name string, told func(runtime.Object) error, failed func(error)) {
	pause := f.first
	for {
		began := time.Now()
		if err := f.watch(ctx, name, told); err != nil && ctx.Err() == nil {
			failed(err)
		}
		if time.Since(began) >= lasted {
			pause = f.first
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jittered(pause)):
		}
		pause = min(2*pause, f.last)
	}
}

// jittered is d or up to half more: an API server that comes back is not asked by everybody at once.
func jittered(d time.Duration) time.Duration {
	return d + rand.N(d/2+1) //nolint:gosec // no secret
}

// watch gets the object and its changes, until the API server ends it, or should have.
func (f follower) watch(ctx context.Context, name string, told func(runtime.Object) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*f.lasts)
	defer cancel()
	w, err := f.begin(ctx, name)
	if err != nil {
		return fmt.Errorf("watch %s %s: %w", f.resource, name, err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		switch event.Type {
		case watch.Error:
			return fmt.Errorf("watch %s %s: %w", f.resource, name, apierrors.FromObject(event.Object))
		case watch.Added, watch.Modified:
			if err := told(event.Object); err != nil {
				return err
			}
		case watch.Deleted, watch.Bookmark:
		}
	}
	return nil
}

func (f follower) begin(ctx context.Context, name string) (watch.Interface, error) {
	seconds := int64(jittered(f.lasts).Seconds())
	request := f.client.stream.Get().Resource(f.resource).VersionedParams(&metav1.ListOptions{
		FieldSelector: "metadata.name=" + name, Watch: true, TimeoutSeconds: &seconds,
	}, metav1.ParameterCodec)
	if f.accept != "" {
		request.SetHeader("Accept", f.accept)
	}
	return request.Watch(ctx)
}
