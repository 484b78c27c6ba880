package chart

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagev1beta1 "k8s.io/api/storage/v1beta1"
	"sigs.k8s.io/yaml"
)

// Lint is what a user's own check would say.
func TestLint(t *testing.T) {
	for _, file := range []string{minimal, full} {
		if _, err := helm(t, "lint", "--strict", chartDir, "--values", file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Each set of values, and each switch of values.yaml by itself, makes objects that decode strictly.
func TestDecodes(t *testing.T) {
	for name, args := range map[string][]string{
		"minimal":         values(minimal),
		"full":            values(full),
		"the lab's":       values("../../hack/cluster/values.yaml"),
		"no snapshotter":  append(values(full), "--set", "sidecars.snapshotter.enabled=false"),
		"no metrics":      append(values(full), "--set", "metrics.enabled=false"),
		"no capacity":     append(values(full), "--set", "csiDriver.storageCapacity=false"),
		"one replica":     append(values(minimal), "--set", "controller.replicas=1"),
		"recreate":        append(values(minimal), "--set", "controller.updateStrategy.type=Recreate,controller.updateStrategy.rollingUpdate=null"),
		"no node token":   append(values(full), "--set", "node.startupTaint.remove=false,node.events=false,node.livePolicy=false,initiatorName=auto"),
		"taint only":      append(values(full), "--set", "node.events=false,node.livePolicy=false"),
		"no limits":       append(values(minimal), "--set", "controller.resources=null,sidecars.attacher.resources=null"),
		"long name":       append(values(full), "--set", "fullnameOverride="+strings.Repeat("n", 70)),
		"oldest":          append(values(full), "--kube-version", "1.30.0"),
		"no tolerations":  append(values(minimal), "--set", "node.tolerations=null,controller.tolerations=null"),
		"a registry":      append(values(minimal), "--set", "sidecars.attacher.image.repository=registry:5000/a/b"),
		"empty policy":    append(values(minimal), "--set", "networkPolicy.enabled=true,metrics.enabled=false"),
		"no priorities":   append(values(minimal), "--set", "node.priorityClassName=,controller.priorityClassName="),
		"static capacity": append(values(minimal), "--set", "csiDriver.nodeAllocatableUpdatePeriodSeconds=0"),
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range render(t, args...) {
				if len(o.GetName()) > 63 {
					t.Errorf("name %s is too long", o.GetName())
				}
				if o.GetLabels()["app.kubernetes.io/name"] == "" {
					t.Errorf("%T %s has no labels of the chart's", o, o.GetName())
				}
			}
		})
	}
}

// VolumeAttributesClasses are v1 where that exists.
func TestAttributesClassVersion(t *testing.T) {
	if n := len(every[*storagev1.VolumeAttributesClass](render(t, append(values(full), "--kube-version", "1.34.0")...))); n != 1 {
		t.Errorf("1.34: %d classes of v1", n)
	}
	if n := len(every[*storagev1beta1.VolumeAttributesClass](render(t, append(values(full), "--kube-version", "1.33.4")...))); n != 1 {
		t.Errorf("1.33: %d classes of v1beta1", n)
	}
}

// A field that the API server does not know yet is not sent: server-side apply would refuse the object.
func TestOldAPIServer(t *testing.T) {
	for version, want := range map[string]bool{"1.30.0": false, "1.32.9": false, "1.33.0": true, "1.37.1": true} {
		spec := every[*storagev1.CSIDriver](render(t, append(values(minimal), "--kube-version", version)...))[0].Spec
		if got := spec.NodeAllocatableUpdatePeriodSeconds != nil; got != want {
			t.Errorf("%s: nodeAllocatableUpdatePeriodSeconds is there: %v", version, got)
		}
	}
}

// A name of distribution is known to the schema and to the file with what differs, and gives the directories there.
func TestDistributions(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(chartDir, "files", "distributions.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var known map[string]struct{ KubeletDir, StateDir, SELinuxType string }
	if err := yaml.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	_, err = template(t, append(values(minimal), "--set", "distribution=beos")...)
	for name, want := range known {
		if err == nil || !strings.Contains(err.Error(), "'"+name+"'") {
			t.Errorf("the schema does not know %s: %v", name, err)
		}
		pod := nodePod(t, render(t, append(values(minimal), "--set", "distribution="+name)...))
		if got := hostPath(pod.Volumes, "kubelet"); got != want.KubeletDir {
			t.Errorf("%s: kubelet's directory is %s, want %s", name, got, want.KubeletDir)
		}
		if got := hostPath(pod.Volumes, "state"); got != want.StateDir {
			t.Errorf("%s: the state is in %s, want %s", name, got, want.StateDir)
		}
		registrar := container(t, pod, "node-driver-registrar").SecurityContext
		if got := registrar.SELinuxOptions; (got != nil) != (want.SELinuxType != "") || got != nil && got.Type != want.SELinuxType {
			t.Errorf("%s: SELinux options of the registrar: %v, want type %q", name, got, want.SELinuxType)
		}
	}
}

// What is given under host goes before what the distribution says.
func TestHostOverrides(t *testing.T) {
	pod := nodePod(t, render(t, append(values(minimal), "--set", "distribution=k0s,host.kubeletDir=/srv/kubelet,host.stateDir=/srv/portbind")...))
	for name, want := range map[string]string{
		"kubelet": "/srv/kubelet", "registration": "/srv/kubelet/plugins_registry",
		"socket": "/srv/kubelet/plugins/iscsi.portbind.io", "state": "/srv/portbind",
	} {
		if got := hostPath(pod.Volumes, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// Only a change that matters to pods replaces them: a new version of the chart alone does not.
func TestPodsOutliveChartVersions(t *testing.T) {
	all := render(t, values(minimal)...)
	for name, labels := range map[string]map[string]string{
		"controller": named[*appsv1.Deployment](t, all, release+"-controller").Spec.Template.Labels,
		"node":       named[*appsv1.DaemonSet](t, all, release+"-node").Spec.Template.Labels,
	} {
		for key := range labels {
			if slices.Contains([]string{"helm.sh/chart", "app.kubernetes.io/version"}, key) {
				t.Errorf("%s: pods have the label %s", name, key)
			}
		}
	}
}
