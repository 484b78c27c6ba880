package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// sink writes the events that client-go's recorder has correlated.
type sink struct {
	ctx        context.Context //nolint:containedctx // the recorder's interface has none
	client     *Client
	complaints *complaints
}

var _ record.EventSink = (*sink)(nil)

// Create implements record.EventSink.
func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	made, err := s.client.createEvent(s.ctx, e)
	return made, s.judge(err)
}

// Patch implements record.EventSink. That the event has expired is no failure: it is created anew.
func (s *sink) Patch(old *corev1.Event, patch []byte) (*corev1.Event, error) {
	made, err := s.client.patchEvent(s.ctx, old, patch)
	if apierrors.IsNotFound(err) {
		return made, err
	}
	return made, s.judge(err)
}

// Update is asked for by the interface; the recorder patches.
func (*sink) Update(*corev1.Event) (*corev1.Event, error) { return nil, errors.ErrUnsupported }

// judge logs a failure. The recorder gives up at any answer of the API server, and tries again after other errors: an
// answer that may change must look like one of those.
func (s *sink) judge(err error) error {
	if err == nil {
		return nil
	}
	s.complaints.log(s.ctx, err, "An event could not be written")
	if temporary(err) {
		return fmt.Errorf("kube: %w", err)
	}
	return err
}

// complainEvery is how often a failure is logged, whatever the number of events.
const complainEvery = time.Minute

// complaints logs failures at a low rate.
type complaints struct {
	mu   sync.Mutex
	last time.Time
	kept int
}

func (c *complaints) log(ctx context.Context, err error, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) < complainEvery {
		c.kept++
		return
	}
	klog.FromContext(ctx).Error(err, text, "failuresSinceLastMessage", c.kept)
	c.last, c.kept = time.Now(), 0
}
