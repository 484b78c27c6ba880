// Package clusterview asks the node plugins of a cluster, all at once, what each sees, and puts the answers together. It reaches them
// as kubectl exec does: who may do that in the driver's namespace needs no other right, and nodes need not be reachable otherwise.
package clusterview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// What the chart calls things.
const (
	// Driver is the CSI driver's name.
	Driver = "iscsi.portbind.io"
	// Container of the node plugin, and Program in it.
	Container = "portbind-csi"
	Program   = "/portbind-csi"

	component  = "app.kubernetes.io/component"
	ofNodes    = "node"
	controller = "controller"
)

// ErrNoPlugin says that there is no node plugin to ask.
var ErrNoPlugin = errors.New("no pod of the node plugin")

// Cluster is one that has the driver.
type Cluster struct {
	Client kubernetes.Interface
	Exec   Executor
	// Namespace is the driver's.
	Namespace string
	// Timeout is how long a node may take for its answer.
	Timeout time.Duration
}

// Plugin is the node plugin of a node.
type Plugin struct {
	Node string
	Pod  *corev1.Pod
}

// NodeError says why a node did not answer.
type NodeError struct {
	Node string
	Err  error
}

// Error implements error.
func (e NodeError) Error() string { return fmt.Sprintf("node %s: no answer: %v", e.Node, e.Err) }

// Unwrap gives the cause.
func (e NodeError) Unwrap() error { return e.Err }

// Plugins gives the node plugins of the given nodes, or of all, in the order of the nodes' names. Given nodes without one come back as
// errors; ErrNoPlugin when there is none in the whole namespace.
func (c Cluster) Plugins(ctx context.Context, nodes []string) ([]Plugin, []NodeError, error) {
	pods, err := c.pods(ctx, ofNodes)
	if err != nil {
		return nil, nil, err
	}
	all := plugins(pods)
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%w in namespace %s (-n says where the driver is)", ErrNoPlugin, c.Namespace)
	}
	if len(nodes) == 0 {
		return all, nil, nil
	}
	var silent []NodeError
	for _, node := range nodes {
		if !slices.ContainsFunc(all, func(p Plugin) bool { return p.Node == node }) {
			silent = append(silent, NodeError{node, ErrNoPlugin})
		}
	}
	return slices.DeleteFunc(all, func(p Plugin) bool { return !slices.Contains(nodes, p.Node) }), silent, nil
}

func (c Cluster) pods(ctx context.Context, of string) ([]corev1.Pod, error) {
	list, err := c.Client.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: component + "=" + of})
	if err != nil {
		return nil, fmt.Errorf("look for the driver: %w", err)
	}
	// The label with the driver's name can be changed, the container's name cannot.
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return !slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == Container })
	}), nil
}

// plugins gives one pod for each node. While one replaces another there are two.
func plugins(pods []corev1.Pod) []Plugin {
	var all []Plugin
	for i := range pods {
		if node := nodeOf(&pods[i]); node != "" {
			all = append(all, Plugin{node, &pods[i]})
		}
	}
	slices.SortFunc(all, func(a, b Plugin) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), a.rank()-b.rank(), b.Pod.CreationTimestamp.Compare(a.Pod.CreationTimestamp.Time))
	})
	return slices.CompactFunc(all, func(a, b Plugin) bool { return a.Node == b.Node })
}

// nodeOf says where a pod is, or is to be: a DaemonSet's pod is made for one node.
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" || p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil {
		return p.Spec.NodeName
	}
	required := p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return ""
	}
	for _, term := range required.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == metav1.ObjectNameField && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// rank orders pods of one node, the one to ask first.
func (p Plugin) rank() int {
	switch {
	case p.available() != nil:
		return 2
	case p.Pod.DeletionTimestamp != nil:
		return 1
	default:
		return 0
	}
}

// available says why the container cannot be asked; nil when it runs.
func (p Plugin) available() error {
	for _, s := range p.Pod.Status.ContainerStatuses {
		switch {
		case s.Name != Container:
		case s.State.Running != nil:
			return nil
		case s.State.Waiting != nil:
			return fmt.Errorf("its container waits: %s", clause(s.State.Waiting.Reason, s.State.Waiting.Message))
		case s.State.Terminated != nil:
			return fmt.Errorf("its container has ended: %s", clause(s.State.Terminated.Reason, s.State.Terminated.Message))
		}
	}
	return fmt.Errorf("its pod is %s", clause(strings.ToLower(string(p.Pod.Status.Phase)), p.unscheduled()))
}

// unscheduled says why no node was found for the pod.
func (p Plugin) unscheduled() string {
	for _, c := range p.Pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			return c.Message
		}
	}
	return p.Pod.Status.Message
}

func (p Plugin) ready() bool {
	return slices.ContainsFunc(p.Pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// clause is a word and, where there is one, its explanation.
func clause(word, explanation string) string {
	if explanation == "" {
		return word
	}
	return word + ": " + explanation
}
