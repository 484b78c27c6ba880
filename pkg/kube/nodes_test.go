package kube

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"
)

// rack is a line of a watch: the metadata of node n1, as a real API server gives it when that is all that is asked for.
func rack(kind, rack string) string {
	return fmt.Sprintf(`{"type":%q,"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1",
		"metadata":{"name":"n1","resourceVersion":"7","labels":{"rack":%q},"annotations":{"a":"b"}}}}`, kind, rack)
}

// whole is node n1 with all that it has.
func whole(rack string) string {
	return fmt.Sprintf(`{"kind":"Node","apiVersion":"v1","metadata":{"name":"n1","labels":{"rack":%q}},"status":{"nodeInfo":{}}}`, rack)
}

// followNode collects the racks that are told; end ends it and gives the log.
func followNode(t *testing.T, nodes Nodes) (told chan string, end func() string) {
	t.Helper()
	told = make(chan string, 100)
	var log bytes.Buffer
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log)))
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logger))
	var done sync.WaitGroup
	done.Go(func() {
		nodes.Follow(ctx, "n1", func(node metav1.Object) { told <- node.GetName() + " " + node.GetLabels()["rack"] })
	})
	return told, func() string {
		cancel()
		done.Wait()
		return log.String()
	}
}

func newWatchedNode(t *testing.T) (*watched, Nodes) {
	t.Helper()
	s, client := newWatched(t, "/api/v1/nodes", "n1")
	nodes := client.Nodes()
	nodes.nodes.first, nodes.nodes.last = time.Millisecond, 5*time.Millisecond
	return s, nodes
}

// TestFollowNode: a node as it is, and its changes, over failures and ends of watches, and a time without the node. Only its metadata is
// asked for; a whole node does as well.
func TestFollowNode(t *testing.T) {
	t.Parallel()
	s, nodes := newWatchedNode(t)
	for _, code := range []int{500, 429, 410} {
		s.refuse <- code
	}
	told, end := followNode(t, nodes)
	s.scripts <- []string{rack("ADDED", "r1"), rack("MODIFIED", "r2"), expired}
	s.scripts <- []string{rack("ADDED", "r3"), rack("DELETED", "r3"), rack("ADDED", "r4"), "end"}
	s.scripts <- []string{`{"type":"ADDED","object":` + whole("r5") + `}`}
	s.want(told, "n1 r1", "n1 r2", "n1 r3", "n1 r4", "n1 r5")
	if log := end(); strings.Contains(log, "grant") || !strings.Contains(log, "seen late") {
		t.Errorf("log:\n%s", log)
	}
	for range len(s.begun) {
		if accept := <-s.begun; accept != metadataOnly {
			t.Errorf("a watch accepts %s", accept)
		}
	}
}

// TestFollowNodeUnwatched: a node that may not be watched is got now and then, and what to grant is said once; when it is granted, it is
// watched.
func TestFollowNodeUnwatched(t *testing.T) {
	t.Parallel()
	s, nodes := newWatchedNode(t)
	s.get = map[string]string{"/api/v1/nodes/n1": whole("r1")}
	for range 3 {
		s.refuse <- 403
	}
	told, end := followNode(t, nodes)
	s.scripts <- []string{rack("ADDED", "r2")}
	s.want(told, "n1 r1", "n1 r1", "n1 r1", "n1 r2")
	if log := end(); strings.Count(log, "grant the node plugin get and watch of nodes") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

// TestFollowNodeForbidden: while nothing is allowed nothing is told.
func TestFollowNodeForbidden(t *testing.T) {
	t.Parallel()
	s, nodes := newWatchedNode(t)
	s.get = map[string]string{"/api/v1/nodes/n1": ""}
	s.refuse <- 403
	told, end := followNode(t, nodes)
	s.scripts <- []string{rack("ADDED", "r1")}
	s.want(told, "n1 r1")
	if log := end(); !strings.Contains(log, "grant the node plugin") {
		t.Errorf("log:\n%s", log)
	}
}

// TestFollowSilent: a watch that says nothing any more, not even that it ends, is begun anew. That is no failure.
func TestFollowSilent(t *testing.T) {
	t.Parallel()
	s, nodes := newWatchedNode(t)
	nodes.nodes.lasts = 20 * time.Millisecond
	_, end := followNode(t, nodes)
	for range 3 {
		<-s.begun
	}
	if log := end(); log != "" {
		t.Errorf("log:\n%s", log)
	}
}
