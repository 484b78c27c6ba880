package clusterview

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

// saying is what a pod answers to a command.
type saying struct {
	out, errOut string
	status      int
	hangs       bool
}

// fakeExec answers by the pod's name and the first argument; it panics when asked for anything else.
type fakeExec map[string]saying

func (f fakeExec) Exec(ctx context.Context, pod *corev1.Pod, command []string, out, errOut io.Writer) error {
	key := pod.Name + " " + strings.Join(command[1:], " ")
	s, there := f[key]
	if !there || command[0] != Program {
		panic(fmt.Sprintf("unexpected: %q", key))
	}
	if s.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	fmt.Fprint(out, s.out)
	fmt.Fprint(errOut, s.errOut)
	if s.status != 0 {
		return StatusError(s.status)
	}
	return nil
}

const namespace = "portbind"

func newCluster(exec Executor, objects ...runtime.Object) (Cluster, *fake.Clientset) {
	client := fake.NewClientset(objects...)
	return Cluster{Client: client, Exec: exec, Namespace: namespace, Timeout: 10 * time.Second}, client
}

// pod is a driver's pod that is ready, unless changed.
func pod(name, component, node string, changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/component": component}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: Container}}},
		Status: corev1.PodStatus{
			Phase:             corev1.PodRunning,
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: Container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

// crashing makes a pod one whose container is started again and again.
func crashing(p *corev1.Pod) {
	p.Status.Conditions = nil
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{
		Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off 5m0s"},
	}
}

// unschedulable makes a pod one that no node has taken, as the DaemonSet's controller makes it.
func unschedulable(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName = ""
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}},
		}}
		p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "insufficient memory"},
		}}
	}
}

func terminating(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }

func of(age time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(time.Now().Add(-age)) }
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
