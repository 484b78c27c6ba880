package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/pathwatch"
	"github.com/portbind/portbind/pkg/volume"
)

const (
	// queueLength holds what all volumes of a node have to tell, and more.
	queueLength = 1024
	// firstPause and lastPause are between attempts while the API server cannot be reached.
	firstPause = time.Second
	lastPause  = 30 * time.Second
	// maxAge is when an event is given up: it may be the same network that was lost.
	maxAge = 10 * time.Minute
)

// errOtherVolume is a claim of the same name that is bound to another volume.
var errOtherVolume = errors.New("the claim is bound to another volume")

// Events posts what the path watcher tells: on the claim of a volume, where `kubectl describe pvc` shows it, and on the
// node what concerns the node, and the volumes whose claims are not known.
type Events struct {
	client     *Client
	node       string
	component  string
	queue      chan entry
	pause      time.Duration
	complaints complaints
}

// entry is an event and when it happened.
type entry struct {
	pathwatch.Event
	at time.Time
}

// NewEvents makes the events of a node with that name, from that component; Run posts them.
func NewEvents(client *Client, component, node string) *Events {
	return &Events{client: client, component: component, node: node, queue: make(chan entry, queueLength), pause: firstPause}
}

// Post takes an event. It does not wait: when the API server has been away for long, it may be dropped.
func (e *Events) Post(event pathwatch.Event) {
	select {
	case e.queue <- entry{event, time.Now()}:
	default:
	}
}

// Run posts events until ctx ends.
func (e *Events) Run(ctx context.Context) {
	// The broadcaster logs each failure of each event; the sink does so at a low rate.
	broadcaster := record.NewBroadcaster(
		record.WithContext(klog.NewContext(ctx, logr.Discard())),
		record.WithCorrelatorOptions(record.CorrelatorOptions{SpamKeyFunc: spamKey}),
		record.WithSleepDuration(10*e.pause),
	)
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&sink{ctx: ctx, client: e.client, complaints: &e.complaints})
	recorder := broadcaster.NewRecorder(e.client.scheme, corev1.EventSource{Component: e.component, Host: e.node})
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-e.queue:
			e.post(ctx, recorder, event)
		}
	}
}

// spamKey gives each reason of an object a budget of its own: however often paths are lost, their return is told.
func spamKey(e *corev1.Event) string {
	return fmt.Sprint(e.Source.Component, e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason)
}

// post hands an event to the recorder, with the object that it is about.
func (e *Events) post(ctx context.Context, recorder record.EventRecorder, event entry) {
	kind := corev1.EventTypeNormal
	if event.Warning {
		kind = corev1.EventTypeWarning
	}
	if event.Claim != (volume.Claim{}) {
		claim, err := e.await(ctx, event)
		switch {
		case err == nil:
			recorder.Event(claim, kind, event.Reason, event.Message)
			return
		case ctx.Err() != nil:
			return
		case temporary(err):
			e.complaints.log(ctx, err, "An event is dropped: the API server was away for too long")
			return
		}
		e.complaints.log(ctx, err, "An event is put on the node: its claim cannot be used")
	}
	if e.node == "" {
		return
	}
	message := event.Message
	if event.Volume != "" {
		message = fmt.Sprintf("Volume %s: %s", event.Volume, message)
	}
	recorder.Event(nodeReference(e.node), kind, event.Reason, pathwatch.Clip(message))
}

// await gives the claim of an event. While the API server cannot answer it is asked again.
func (e *Events) await(ctx context.Context, event entry) (*corev1.ObjectReference, error) {
	ctx, cancel := context.WithDeadline(ctx, event.at.Add(maxAge))
	defer cancel()
	for pause := e.pause; ; pause = min(2*pause, lastPause) {
		claim, err := e.claim(ctx, event.Claim)
		if err == nil || !temporary(err) {
			return claim, err
		}
		e.complaints.log(ctx, err, "An event waits for the API server")
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func (e *Events) claim(ctx context.Context, c volume.Claim) (*corev1.ObjectReference, error) {
	claim, err := e.client.claim(ctx, c.Namespace, c.Name)
	if err != nil {
		return nil, fmt.Errorf("get claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	if c.Volume != "" && claim.Spec.VolumeName != c.Volume {
		return nil, fmt.Errorf("claim %s/%s: %w", c.Namespace, c.Name, errOtherVolume)
	}
	return &corev1.ObjectReference{
		Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: c.Namespace, Name: c.Name,
		UID: claim.UID, ResourceVersion: claim.ResourceVersion,
	}, nil
}

// temporary says whether the API server may yet give another answer.
func temporary(err error) bool {
	var status *apierrors.StatusError
	if errors.Is(err, errOtherVolume) {
		return false
	}
	if !errors.As(err, &status) {
		return true
	}
	code := status.ErrStatus.Code
	return code == 429 || code >= 500
}

// nodeReference is how kubelet refers to its node: by its name in place of the UID, which `kubectl describe node` looks
// for as well.
func nodeReference(name string) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: name, UID: types.UID(name)}
}
