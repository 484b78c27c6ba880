package nodetaint

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const key = "iscsi.portbind.io/agent-not-ready"

var (
	notReady = corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute}
	notYet   = corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
	others   = corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}
)

// fakeNodes has one node, and applies the merge patches that Remover makes.
type fakeNodes struct {
	node    corev1.Node
	fail    []error // of the calls to come, in order
	patches int
}

func (f *fakeNodes) next() error {
	if len(f.fail) == 0 {
		return nil
	}
	err := f.fail[0]
	f.fail = f.fail[1:]
	return err
}

func (f *fakeNodes) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Node, error) {
	if name != f.node.Name {
		panic("get of node " + name)
	}
	return f.node.DeepCopy(), f.next()
}

func (f *fakeNodes) Patch(
	_ context.Context, name string, kind types.PatchType, patch []byte, _ metav1.PatchOptions, subresources ...string,
) (*corev1.Node, error) {
	if name != f.node.Name || kind != types.MergePatchType || len(subresources) > 0 {
		panic("patch of node " + name + " by " + string(kind))
	}
	if err := f.next(); err != nil {
		return nil, err
	}
	var p struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Spec struct {
			Taints []corev1.Taint `json:"taints"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(patch, &p); err != nil {
		panic(err)
	}
	if p.Metadata.ResourceVersion != f.node.ResourceVersion {
		return nil, errors.New("conflict")
	}
	f.patches++
	f.node.Spec.Taints = p.Spec.Taints
	return f.node.DeepCopy(), nil
}

// ticks never lets a test wait.
func ticks() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

func run(t *testing.T, nodes *fakeNodes, ready func(context.Context) error) {
	t.Helper()
	nodes.node.Name, nodes.node.ResourceVersion = "node1", "7"
	r := Remover{Nodes: nodes, Node: "node1", Key: key, Ready: ready, tick: ticks()}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func yes(context.Context) error { return nil }

func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		before, after []corev1.Taint
		patches       int
	}{
		"every effect, nobody else's": {[]corev1.Taint{notReady, others, notYet}, []corev1.Taint{others}, 1},
		"the last one":                {[]corev1.Taint{notReady}, nil, 1},
		"not there":                   {[]corev1.Taint{others}, []corev1.Taint{others}, 0},
		"none at all":                 {nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := &fakeNodes{}
			nodes.node.Spec.Taints = c.before
			run(t, nodes, yes)
			if diff := cmp.Diff(c.after, nodes.node.Spec.Taints); diff != "" || nodes.patches != c.patches {
				t.Errorf("%d patches, taints (-want +got):\n%s", nodes.patches, diff)
			}
		})
	}
}

// The taint stays as long as something is missing.
func TestWaitsUntilReady(t *testing.T) {
	nodes := &fakeNodes{}
	nodes.node.Spec.Taints = []corev1.Taint{notReady}
	asked := 0
	run(t, nodes, func(context.Context) error {
		if nodes.patches > 0 {
			t.Error("removed too early")
		}
		if asked++; asked < 3 {
			return errors.New("iscsid is not listening")
		}
		return nil
	})
	if asked != 3 || len(nodes.node.Spec.Taints) != 0 {
		t.Errorf("asked %d times, taints %v", asked, nodes.node.Spec.Taints)
	}
}

// The API server may be away, and others may change the node at the same time.
func TestRetries(t *testing.T) {
	nodes := &fakeNodes{fail: []error{errors.New("get: no route"), nil, errors.New("patch: conflict"), nil, nil}}
	nodes.node.Spec.Taints = []corev1.Taint{notReady, others}
	run(t, nodes, yes)
	if diff := cmp.Diff([]corev1.Taint{others}, nodes.node.Spec.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
}

// The end of the process ends the waiting, without an error that would be taken for a failure.
func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := Remover{Nodes: &fakeNodes{}, Node: "node1", Key: key, tick: make(chan time.Time), Ready: func(context.Context) error {
		cancel()
		return errors.New("no NIC")
	}}
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
}
