package clusterview

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/portbind/portbind/pkg/view"
)

// startupTaint keeps pods off a node until its plugin has removed it.
const startupTaint = Driver + "/agent-not-ready"

// nodeID is the name by which the storage knows a node; empty when the driver is not registered there.
func nodeID(n storagev1.CSINode) string {
	for _, d := range n.Spec.Drivers {
		if d.Name == Driver {
			return d.NodeID
		}
	}
	return ""
}

// checkIdentity finds nodes that are one and the same initiator to the storage.
func checkIdentity(f facts) []view.Finding {
	nodes := map[string][]string{}
	for _, n := range f.csiNodes {
		if id := nodeID(n); id != "" {
			nodes[id] = append(nodes[id], n.Name)
		}
	}
	var all []view.Finding
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		if len(nodes[id]) < 2 || !slices.ContainsFunc(nodes[id], f.concerns) {
			continue
		}
		all = append(all, view.Finding{
			Severity: view.Error, Check: "identity", Subject: id,
			Seen:     "one initiator name on several nodes: the storage takes them for one, so each may write to the other's volumes",
			Evidence: []string{"CSINodes with this nodeID: " + strings.Join(nodes[id], ", ")},
			Fix: "Let pods with volumes leave all of these nodes but one. Then set initiatorName: auto, or give each node a name of its own in" +
				" /etc/iscsi/initiatorname.iscsi (machines cloned from one image share it), and restart iscsid and the node plugin",
		})
	}
	return all
}

// checkRegistration finds nodes whose kubelet does not know a plugin that runs.
func checkRegistration(f facts) []view.Finding {
	if f.csiNodes == nil {
		return nil
	}
	var all []view.Finding
	for _, p := range f.plugins {
		registered := slices.ContainsFunc(f.csiNodes, func(n storagev1.CSINode) bool { return n.Name == p.Node && nodeID(n) != "" })
		if registered {
			continue
		}
		finding := view.Finding{
			Node: p.Node, Severity: view.Error, Check: "registration", Seen: "the driver is not in the CSINode: kubelet does not know it",
			Fix: fmt.Sprintf("kubectl -n %s logs %s -c node-driver-registrar; is the chart's distribution (host.kubeletDir) that of this node?",
				f.namespace, p.Pod.Name),
		}
		if !p.ready() {
			finding.Fix = "It should come by itself when the node plugin is ready: mend that first"
		}
		all = append(all, finding)
	}
	return all
}

func checkTaints(f facts) []view.Finding {
	var all []view.Finding
	for _, n := range f.nodes {
		tainted := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == startupTaint })
		if !tainted || !f.concerns(n.Name) {
			continue
		}
		fix := fmt.Sprintf("Nobody removes it by itself: set the chart's node.startupTaint.remove, or kubectl taint nodes %s %s-",
			n.Name, startupTaint)
		if f.removesTaint(n.Name) {
			fix = "The node plugin removes it as soon as the node can attach volumes: mend what is said of the node"
		}
		all = append(all, view.Finding{
			Node: n.Name, Severity: view.Warning, Check: "taint", Seen: "the start-up taint " + startupTaint + " keeps pods away", Fix: fix,
		})
	}
	return all
}

// removesTaint says that the node's plugin was told to.
func (f facts) removesTaint(node string) bool {
	return slices.ContainsFunc(f.plugins, func(p Plugin) bool {
		return p.Node == node && slices.ContainsFunc(p.Pod.Spec.Containers, func(c corev1.Container) bool {
			return c.Name == Container && slices.Contains(c.Args, "--startup-taint="+startupTaint)
		})
	})
}

// checkAttachments tells of volumes that cannot be given to a node, or not be taken from it.
func checkAttachments(f facts) []view.Finding {
	var all []view.Finding
	for _, a := range f.attachments {
		if a.Spec.Attacher != Driver || !f.concerns(a.Spec.NodeName) {
			continue
		}
		finding := view.Finding{Node: a.Spec.NodeName, Check: "attachment", Subject: volumeOf(a)}
		switch {
		case a.Status.DetachError != nil:
			finding.Severity, finding.Seen = view.Warning, "it cannot be detached: "+a.Status.DetachError.Message
			finding.Evidence = []string{since(a, a.Status.DetachError)}
		case a.Status.AttachError != nil:
			finding.Severity, finding.Seen = view.Error, "it cannot be attached: "+a.Status.AttachError.Message
			finding.Evidence = []string{since(a, a.Status.AttachError)}
		default:
			continue
		}
		finding.Fix = fmt.Sprintf("It is tried again and again. Why it fails: kubectl -n %s logs -l %s=%s -c %s",
			f.namespace, component, controller, Container)
		all = append(all, finding)
	}
	return all
}

func volumeOf(a storagev1.VolumeAttachment) string {
	if name := a.Spec.Source.PersistentVolumeName; name != nil {
		return *name
	}
	return "inline volume"
}

func since(a storagev1.VolumeAttachment, e *storagev1.VolumeError) string {
	return fmt.Sprintf("VolumeAttachment %s, last tried %s", a.Name, e.Time.UTC().Format(time.RFC3339))
}
