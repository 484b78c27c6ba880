package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/portbind/portbind/pkg/clusterview"
	"github.com/portbind/portbind/pkg/view"
)

// node is the only one that answers, with 2000 bytes more in each 2 s. Its pod has its name.
type node struct {
	name  string
	looks atomic.Int64
}

func (n *node) Exec(_ context.Context, pod *corev1.Pod, _ []string, out, errOut io.Writer) error {
	if pod.Name != n.name {
		fmt.Fprintln(errOut, "no such file")
		return clusterview.StatusError(1)
	}
	looks := n.looks.Add(1)
	at := time.Unix(2*looks, 0).UTC().Format(time.RFC3339)
	_, err := fmt.Fprintf(out, `[{"name":"san-a","nic":"eth2","rxBytes":%d,"sampledAt":%q}]`, 2000*looks, at)
	return err
}

// newScreen is of a cluster with these nodes.
func newScreen(exec clusterview.Executor, out, errOut io.Writer, names ...string) *screen[view.Interface] {
	client := fake.NewClientset()
	for _, name := range names {
		_ = client.Tracker().Add(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "portbind", Labels: map[string]string{"app.kubernetes.io/component": "node"}},
			Spec:       corev1.PodSpec{NodeName: name, Containers: []corev1.Container{{Name: clusterview.Container}}},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: clusterview.Container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			}},
		})
	}
	return &screen[view.Interface]{
		cluster: clusterview.Cluster{Client: client, Exec: exec, Namespace: "portbind", Timeout: time.Minute}, name: "interfaces",
		layout: view.Layout{Format: view.Table, Cluster: true}, compare: clusterview.Rates, out: out, errOut: errOut,
	}
}

// A node that does not answer hides nothing of the others, and is not passed over.
func TestShow(t *testing.T) {
	var out, errOut bytes.Buffer
	err := newScreen(&node{name: "node1"}, &out, &errOut, "node1", "node2").show(t.Context())
	if status, ok := errors.AsType[statusError](err); !ok || status != exitSilent {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "node1  san-a") {
		t.Errorf("got %s", &out)
	}
	if want := "warning: node node2: no answer: exit status 1: no such file\n"; errOut.String() != want {
		t.Errorf("got %s", &errOut)
	}
}

// Watching goes on when a node does not answer, knows rates from the second look on, and its end is no error.
func TestWatch(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out bytes.Buffer
	looks := 0
	s := newScreen(&node{name: "node1"}, writer(func(p []byte) (int, error) {
		if looks++; looks == 2 {
			stop()
		}
		return out.Write(p)
	}), io.Discard, "node1", "node2")
	s.layout.Watched = true
	if err := s.watch(ctx, time.Millisecond); err != nil {
		t.Error(err)
	}
	if first, second, _ := strings.Cut(out.String(), "\n\n"); strings.Contains(first, "B/s") || !strings.Contains(second, "1000 B/s") {
		t.Errorf("got %s", &out)
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// What is said in the manual of exit statuses holds for a command line that makes no sense.
func TestCommandLine(t *testing.T) {
	for _, line := range []string{"nope", "paths -o xml", "interfaces --interval 0s", "drain san-a", "drain --node node1", "doctor --context nope"} {
		root := newRootCommand()
		root.SetArgs(strings.Fields(line))
		err := root.ExecuteContext(t.Context())
		if _, status := errors.AsType[statusError](err); err == nil || status {
			t.Errorf("%s: got %v", line, err)
		}
	}
}
