package clusterview

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portbind/portbind/pkg/view"
)

// facts are what a cluster's doctor judges by.
type facts struct {
	namespace string
	// version is that of the program that asks.
	version string
	// only are the nodes that were asked for; all when empty.
	only    []string
	plugins []Plugin
	// silent are nodes without a plugin.
	silent []NodeError
	// reports and versions are what the nodes answered.
	reports, versions []answer

	daemonSets []appsv1.DaemonSet
	nodes      []corev1.Node
	// controllers and csiNodes are nil when they could not be looked at.
	controllers []corev1.Pod
	csiNodes    []storagev1.CSINode
	attachments []storagev1.VolumeAttachment
	// unknown is what could not be looked at.
	unknown []error
}

// Patient says what a doctor is to look at.
type Patient struct {
	// Nodes are those to look at; all when empty.
	Nodes []string
	// Portals are tried besides those that the nodes know.
	Portals []string
	// Version is that of the program that asks.
	Version string
}

// Doctor says what is wrong on nodes, and what no node can see by itself. It fails only when nobody could be asked.
func (c Cluster) Doctor(ctx context.Context, p Patient) (view.Report, error) {
	f := facts{namespace: c.Namespace, version: p.Version, only: p.Nodes}
	var err error
	if f.plugins, f.silent, err = c.Plugins(ctx, p.Nodes); err != nil {
		return view.Report{}, err
	}
	command := []string{"doctor", "-o", "json"}
	for _, portal := range p.Portals {
		command = append(command, "--portal="+portal)
	}
	reports := make(chan []answer, 1)
	go func() { reports <- c.ask(ctx, f.plugins, command...) }()
	f.versions = c.ask(ctx, f.plugins, "version")
	c.gather(ctx, &f)
	f.reports = <-reports
	return view.NewReport(f.judge()), ctx.Err()
}

// gather asks the API server. What it may not tell is said to be unknown.
func (c Cluster) gather(ctx context.Context, f *facts) {
	var all metav1.ListOptions
	note := func(what string, err error) {
		f.unknown = append(f.unknown, fmt.Errorf("%s: %w", what, err))
	}
	if pods, err := c.pods(ctx, controller); err == nil {
		f.controllers = append([]corev1.Pod{}, pods...)
	} else {
		note("controllers", err)
	}
	plugins := metav1.ListOptions{LabelSelector: component + "=" + ofNodes}
	if list, err := c.Client.AppsV1().DaemonSets(c.Namespace).List(ctx, plugins); err == nil {
		f.daemonSets = list.Items
	} else {
		note("the node plugin's DaemonSet", err)
	}
	if list, err := c.Client.CoreV1().Nodes().List(ctx, all); err == nil {
		f.nodes = list.Items
	} else {
		note("taints of nodes", err)
	}
	if list, err := c.Client.StorageV1().CSINodes().List(ctx, all); err == nil {
		f.csiNodes = append([]storagev1.CSINode{}, list.Items...)
	} else {
		note("registration and initiator names", err)
	}
	if list, err := c.Client.StorageV1().VolumeAttachments().List(ctx, all); err == nil {
		f.attachments = list.Items
	} else {
		note("attachments", err)
	}
}

// concerns says whether a node was asked for.
func (f facts) concerns(node string) bool { return len(f.only) == 0 || slices.Contains(f.only, node) }

// judge makes findings, a cause before what may follow from it.
func (f facts) judge() []view.Finding {
	var all []view.Finding
	for _, check := range []func(facts) []view.Finding{
		checkUnknown, checkControllers, checkDaemonSets, checkPlugins, checkAnswers, checkVersions, checkIdentity, checkRegistration,
		checkTaints, checkNodes, checkAttachments,
	} {
		all = append(all, check(f)...)
	}
	return all
}
