package clusterview

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/portbind/portbind/pkg/view"
)

func checkUnknown(f facts) []view.Finding {
	var all []view.Finding
	for _, err := range f.unknown {
		all = append(all, view.Finding{
			Severity: view.Warning, Check: "doctor", Seen: "not looked at: " + err.Error(),
			Fix: "docs/kubectl.md has the rights that the doctor needs",
		})
	}
	return all
}

func checkControllers(f facts) []view.Finding {
	if f.controllers == nil {
		return nil
	}
	ready := 0
	var evidence []string
	for i := range f.controllers {
		p := Plugin{Pod: &f.controllers[i]}
		if p.ready() {
			ready++
		} else {
			evidence = append(evidence, p.condition())
		}
	}
	finding := view.Finding{
		Severity: view.OK, Check: "controller", Seen: fmt.Sprintf("%d of %d are ready", ready, len(f.controllers)), Evidence: evidence,
	}
	switch {
	case ready == 0:
		finding.Severity = view.Error
	case ready < len(f.controllers):
		finding.Severity = view.Warning
	}
	if finding.Severity != view.OK {
		finding.Fix = fmt.Sprintf("kubectl -n %s describe pods -l %s=%s; their logs", f.namespace, component, controller)
	}
	return []view.Finding{finding}
}

// checkDaemonSets finds nodes for which no pod was even made.
func checkDaemonSets(f facts) []view.Finding {
	var all []view.Finding
	for _, d := range f.daemonSets {
		if s := d.Status; s.CurrentNumberScheduled < s.DesiredNumberScheduled {
			all = append(all, view.Finding{
				Severity: view.Error, Check: "plugin", Subject: d.Name,
				Seen: fmt.Sprintf("%d nodes should have a node plugin, %d have", s.DesiredNumberScheduled, s.CurrentNumberScheduled),
				Fix:  fmt.Sprintf("kubectl -n %s describe daemonset %s", f.namespace, d.Name),
			})
		}
	}
	return all
}

func checkPlugins(f facts) []view.Finding {
	var all []view.Finding
	for _, e := range f.silent {
		all = append(all, view.Finding{
			Node: e.Node, Severity: view.Error, Check: "plugin", Seen: e.Err.Error(),
			Fix: "Is that the node's name? The chart's node.nodeSelector and node.affinity say where the node plugin runs",
		})
	}
	for _, p := range f.plugins {
		finding := view.Finding{Node: p.Node, Severity: view.OK, Check: "plugin", Subject: p.Pod.Name, Seen: "it is ready"}
		if !p.ready() {
			finding.Severity, finding.Seen = view.Error, "it is not ready"
			finding.Evidence = append([]string{p.condition()}, f.nodeCondition(p.Node)...)
			finding.Fix = fmt.Sprintf("kubectl -n %[1]s describe pod %[2]s; kubectl -n %[1]s logs %[2]s -c %[3]s",
				f.namespace, p.Pod.Name, Container)
		}
		all = append(all, finding)
	}
	return all
}

// condition says what a pod that is not ready does instead.
func (p Plugin) condition() string {
	if err := p.available(); err != nil {
		return p.Pod.Name + ": " + err.Error()
	}
	for _, c := range p.Pod.Status.Conditions {
		if c.Type == corev1.ContainersReady && c.Status != corev1.ConditionTrue {
			return p.Pod.Name + ": " + clause(c.Reason, c.Message)
		}
	}
	return p.Pod.Name + ": " + strings.ToLower(string(p.Pod.Status.Phase))
}

// nodeCondition says that kubelet does not report, or that it cannot work.
func (f facts) nodeCondition(node string) []string {
	for _, n := range f.nodes {
		for _, c := range n.Status.Conditions {
			if n.Name == node && c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
				return []string{"the node is not ready: " + clause(c.Reason, c.Message)}
			}
		}
	}
	return nil
}

func checkAnswers(f facts) []view.Finding {
	var all []view.Finding
	for _, a := range f.reports {
		if _, err := decodeReport(a); err != nil {
			all = append(all, view.Finding{
				Node: a.node, Severity: view.Error, Check: "answer", Seen: "its doctor does not answer: " + err.Error(),
				Evidence: f.nodeCondition(a.node), Fix: "What is said of its plugin here comes first. Else: portbind-csi doctor on the node, as root",
			})
		}
	}
	return all
}

// checkNodes passes on what the nodes find.
func checkNodes(f facts) []view.Finding {
	var all []view.Finding
	for _, a := range f.reports {
		report, err := decodeReport(a)
		if err != nil {
			continue // checkAnswers says so
		}
		for _, finding := range report.Findings {
			finding.Node = a.node
			all = append(all, finding)
		}
	}
	return all
}

func checkVersions(f facts) []view.Finding {
	nodes := map[string][]string{}
	for _, a := range f.versions {
		if version := strings.TrimSpace(string(a.out)); a.err == nil && version != "" {
			nodes[version] = append(nodes[version], a.node)
		}
	}
	versions := slices.Sorted(maps.Keys(nodes))
	switch {
	case len(versions) == 0:
		return nil
	case len(versions) == 1 && versions[0] == f.version:
		return []view.Finding{{Severity: view.OK, Check: "version", Seen: f.version + " everywhere"}}
	case len(versions) == 1:
		return []view.Finding{{
			Severity: view.Info, Check: "version", Seen: fmt.Sprintf("the node plugins are %s, this program is %s", versions[0], f.version),
		}}
	}
	finding := view.Finding{
		Severity: view.Warning, Check: "version", Seen: fmt.Sprintf("node plugins of %d versions", len(versions)),
		Fix: fmt.Sprintf("An upgrade is under way, or has stopped: kubectl -n %s rollout status daemonset", f.namespace),
	}
	for _, v := range versions {
		finding.Evidence = append(finding.Evidence, v+": "+strings.Join(nodes[v], ", "))
	}
	return []view.Finding{finding}
}
