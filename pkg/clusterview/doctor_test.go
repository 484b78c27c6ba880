package clusterview

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/portbind/portbind/pkg/view"
)

// world is a cluster of two nodes where all is well, until a test changes it.
type world struct {
	pods        []*corev1.Pod
	daemonSet   *appsv1.DaemonSet
	nodes       []*corev1.Node
	csiNodes    []*storagev1.CSINode
	attachments []*storagev1.VolumeAttachment
	exec        fakeExec
	forbidden   bool
	only        []string
	portals     []string
}

func newWorld() *world {
	w := &world{
		pods: []*corev1.Pod{pod("c", controller, "node1")},
		daemonSet: &appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Name: "portbind-node", Namespace: namespace, Labels: map[string]string{component: ofNodes}},
			Status:     appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, CurrentNumberScheduled: 2},
		},
		exec: fakeExec{},
	}
	for i, node := range []string{"node1", "node2"} {
		name := fmt.Sprintf("p%d", i+1)
		w.pods = append(w.pods, pod(name, ofNodes, node))
		w.nodes = append(w.nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}})
		w.csiNodes = append(w.csiNodes, &storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: node},
			Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{
				{Name: "hostpath.csi.k8s.io", NodeID: "same"}, {Name: Driver, NodeID: "iqn.2026-11.io.portbind:" + node},
			}},
		})
		w.attachments = append(w.attachments, &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: "csi-" + node},
			Spec: storagev1.VolumeAttachmentSpec{
				Attacher: Driver, NodeName: node, Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: new("pvc-" + node)},
			},
		})
		w.exec[name+" version"] = saying{out: "v1\n"}
		w.exec[name+" doctor -o json"] = saying{out: `{"severity":"ok","findings":[{"severity":"ok","check":"iscsid","seen":"it runs"}]}`}
	}
	return w
}

func (w *world) doctor(t *testing.T) view.Report {
	t.Helper()
	objects := []runtime.Object{w.daemonSet}
	for _, p := range w.pods {
		objects = append(objects, p)
	}
	for i := range w.nodes {
		objects = append(objects, w.nodes[i], w.csiNodes[i], w.attachments[i])
	}
	c, client := newCluster(w.exec, objects...)
	if w.forbidden {
		client.PrependReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
			what := a.GetResource().GroupResource()
			return what.Resource != "pods", nil, apierrors.NewForbidden(what, "", errors.New("no"))
		})
	}
	report, err := c.Doctor(t.Context(), Patient{Nodes: w.only, Portals: w.portals, Version: "v1"})
	check(t, err)
	return report
}

// failing is a status of a volume that could not be given, or taken, at some time.
func failing(message string) *storagev1.VolumeError {
	return &storagev1.VolumeError{Message: message, Time: metav1.Unix(0, 0)}
}

func TestDoctor(t *testing.T) {
	tests := map[string]struct {
		change func(w *world)
		// want are the findings that are not ok: severity, node, check, and how what was seen begins.
		want []string
	}{
		"all is well": {func(*world) {}, nil},
		"what a node finds": {func(w *world) {
			w.exec["p2 doctor -o json"] = saying{status: 2, out: `{"findings":[{"severity":"error","check":"interface","seen":"LinkDown"}]}`}
		}, []string{"error node2 interface: LinkDown"}},
		"a node without a doctor": {func(w *world) {
			w.exec["p2 doctor -o json"] = saying{status: 127, errOut: "not found"}
		}, []string{"error node2 answer: its doctor does not answer: exit status 127: not found"}},
		"a plugin that crashes": {func(w *world) {
			crashing(w.pods[2])
			w.csiNodes[1].Spec.Drivers = nil
			w.nodes[1].Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown"}}
		}, []string{
			"error node2 plugin: it is not ready",
			"error node2 answer: its doctor does not answer: its container waits: CrashLoopBackOff: back-off 5m0s",
			"error node2 registration: the driver is not in the CSINode",
		}},
		"no pod for a node": {func(w *world) {
			w.daemonSet.Status.CurrentNumberScheduled = 1
		}, []string{"error  plugin: 2 nodes should have a node plugin, 1 have"}},
		"kubelet does not know it": {func(w *world) {
			w.csiNodes[0].Spec.Drivers = w.csiNodes[0].Spec.Drivers[:1]
		}, []string{"error node1 registration: the driver is not in the CSINode"}},
		"one initiator name": {func(w *world) {
			w.csiNodes[1].Spec.Drivers[1].NodeID = "iqn.2026-11.io.portbind:node1"
		}, []string{"error  identity: one initiator name on several nodes"}},
		"the taint is left": {func(w *world) {
			w.nodes[1].Spec.Taints = []corev1.Taint{{Key: "other"}, {Key: startupTaint, Effect: corev1.TaintEffectNoSchedule}}
		}, []string{"warning node2 taint: the start-up taint"}},
		"two versions": {func(w *world) {
			w.exec["p2 version"] = saying{out: "v2\n"}
		}, []string{"warning  version: node plugins of 2 versions"}},
		"another version than ours": {func(w *world) {
			w.exec["p1 version"], w.exec["p2 version"] = saying{out: "v2\n"}, saying{out: "v2\n"}
		}, []string{"info  version: the node plugins are v2, this program is v1"}},
		"attachments": {func(w *world) {
			w.attachments[0].Status.AttachError = failing("no LUN")
			w.attachments[1].Status.DetachError = failing("in use")
		}, []string{"error node1 attachment: it cannot be attached: no LUN", "warning node2 attachment: it cannot be detached: in use"}},
		"another driver's attachment": {func(w *world) {
			w.attachments[0].Spec.Attacher, w.attachments[0].Status.AttachError = "other", failing("no")
		}, nil},
		"no controller": {func(w *world) {
			w.pods = w.pods[1:]
		}, []string{"error  controller: 0 of 0 are ready"}},
		"one controller of two": {func(w *world) {
			w.pods = append(w.pods, pod("c2", controller, "node2", crashing))
		}, []string{"warning  controller: 1 of 2 are ready"}},
		"few rights": {func(w *world) { w.forbidden = true }, []string{
			"warning  doctor: not looked at: the node plugin's DaemonSet: daemonsets.apps is forbidden",
			"warning  doctor: not looked at: taints of nodes: nodes is forbidden",
			"warning  doctor: not looked at: registration and initiator names: csinodes.storage.k8s.io is forbidden",
			"warning  doctor: not looked at: attachments: volumeattachments.storage.k8s.io is forbidden",
		}},
		"of one node only": {func(w *world) {
			w.only = []string{"node1"}
			crashing(w.pods[2])
			w.attachments[1].Status.DetachError = failing("in use")
			w.nodes[1].Spec.Taints = []corev1.Taint{{Key: startupTaint}}
		}, nil},
		"with a portal": {func(w *world) {
			w.only, w.portals = []string{"node1"}, []string{"192.0.2.1", "192.0.2.2:860"}
			w.exec["p1 doctor -o json --portal=192.0.2.1 --portal=192.0.2.2:860"] = saying{
				status: 2, out: `{"findings":[{"severity":"error","check":"portal","seen":"no answer","fix":"mend it"}]}`,
			}
		}, []string{"error node1 portal: no answer"}},
		"a node without a plugin": {func(w *world) { w.only = []string{"node1", "node9"} }, []string{"error node9 plugin: no pod of the node plugin"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			test.change(w)
			report := w.doctor(t)
			var got []string
			for _, f := range report.Findings {
				if f.Severity == view.OK {
					continue
				}
				got = append(got, fmt.Sprintf("%s %s %s: %s", f.Severity, f.Node, f.Check, f.Seen))
				if f.Severity != view.Info && f.Fix == "" && f.Check != "interface" {
					t.Errorf("no fix for: %s", f.Seen)
				}
			}
			begins := cmp.Comparer(func(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) })
			if diff := cmp.Diff(test.want, got, begins); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whoever reads the taint's finding learns whether to wait.
func TestTaintFix(t *testing.T) {
	for name, args := range map[string][]string{"Nobody removes it": nil, "The node plugin removes it": {"--startup-taint=" + startupTaint}} {
		w := newWorld()
		w.nodes[0].Spec.Taints = []corev1.Taint{{Key: startupTaint}}
		w.pods[1].Spec.Containers[0].Args = args
		if got := w.doctor(t).Findings[0].Fix; !strings.HasPrefix(got, name) {
			t.Errorf("got %s", got)
		}
	}
}
