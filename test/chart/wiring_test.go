package chart

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/volume"
)

// Everybody in a pod speaks at the socket that the plugin serves, and kubelet is told where that is on the host.
func TestSockets(t *testing.T) {
	all := render(t, values(full)...)
	for _, pod := range []corev1.PodSpec{controllerPod(t, all), nodePod(t, all)} {
		plugin := container(t, pod, "portbind-csi")
		endpoint, _ := flag(plugin, "endpoint")
		socket := strings.TrimPrefix(endpoint, "unix://")
		for _, c := range pod.Containers {
			if got := mountPath(c, "socket"); got != path.Dir(socket) {
				t.Errorf("%s: the socket's directory is at %s, the socket %s", c.Name, got, socket)
			}
			if got, _ := flag(c, "csi-address"); c.Name != plugin.Name && got != socket {
				t.Errorf("%s: --csi-address=%s, want %s", c.Name, got, socket)
			}
		}
	}
	node := nodePod(t, all)
	got, _ := flag(container(t, node, "node-driver-registrar"), "kubelet-registration-path")
	if want := hostPath(node.Volumes, "socket") + "/csi.sock"; got != want {
		t.Errorf("kubelet is told %s, the socket is %s", got, want)
	}
	if want := "/plugins/" + driver.Name; !strings.HasSuffix(hostPath(node.Volumes, "socket"), want) {
		t.Errorf("the socket's directory %s does not end with %s", hostPath(node.Volumes, "socket"), want)
	}
}

func mountPath(c corev1.Container, volume string) string {
	for _, m := range c.VolumeMounts {
		if m.Name == volume {
			return m.MountPath
		}
	}
	return ""
}

// The plugin comes first and answers before kubelet starts its sidecars, which end when a connection is not answered within a second.
func TestPluginStartsFirst(t *testing.T) {
	all := render(t, values(full)...)
	for _, pod := range []corev1.PodSpec{controllerPod(t, all), nodePod(t, all)} {
		first := pod.Containers[0]
		if first.Name != "portbind-csi" || first.Lifecycle == nil || first.Lifecycle.PostStart == nil || first.Lifecycle.PostStart.Exec == nil {
			t.Errorf("the first container is %s, started hook %v", first.Name, first.Lifecycle)
			continue
		}
		hook := first.Lifecycle.PostStart.Exec.Command
		if !slices.Contains(hook, "--wait") || !slices.Contains(hook, "--endpoint=unix:///csi/csi.sock") {
			t.Errorf("the hook is %v", hook)
		}
	}
}

// What is mounted at a container exists in the pod, and kubelet's directory is where the host has it: paths that kubelet gives are
// used as they are.
func TestMounts(t *testing.T) {
	all := render(t, values(full)...)
	for _, pod := range []corev1.PodSpec{controllerPod(t, all), nodePod(t, all)} {
		for _, c := range pod.Containers {
			for _, m := range c.VolumeMounts {
				if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
					t.Errorf("%s: no volume %s", c.Name, m.Name)
				}
			}
		}
	}
	node := nodePod(t, all)
	plugin := container(t, node, "portbind-csi")
	for _, name := range []string{"kubelet", "state", "dev"} {
		if got, want := mountPath(plugin, name), hostPath(node.Volumes, name); got != want {
			t.Errorf("%s is at %s, on the host at %s", name, got, want)
		}
	}
}

// Each sidecar that acts on the cluster elects a leader, in this namespace, and lets go of it when it ends.
func TestElections(t *testing.T) {
	var found []string
	for _, c := range controllerPod(t, render(t, values(full)...)).Containers {
		if _, ok := flag(c, "leader-election"); !ok {
			continue
		}
		found = append(found, c.Name)
		if got, _ := flag(c, "leader-election-namespace"); got != namespace {
			t.Errorf("%s: elects in %q", c.Name, got)
		}
		if got, _ := flag(c, "feature-gates"); got != "ReleaseLeaderElectionOnExit=true" {
			t.Errorf("%s: --feature-gates=%s", c.Name, got)
		}
	}
	if want := []string{"csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter"}; !slices.Equal(found, want) {
		t.Errorf("leaders are elected by %v, want %v", found, want)
	}
}

// Probes ask at a port where somebody listens.
func TestProbes(t *testing.T) {
	all := render(t, values(full)...)
	for _, pod := range []corev1.PodSpec{controllerPod(t, all), nodePod(t, all)} {
		endpoint, _ := flag(container(t, pod, "liveness-probe"), "http-endpoint")
		plugin := container(t, pod, "portbind-csi")
		ready := plugin.ReadinessProbe.HTTPGet
		port := ready.Port.String()
		for _, p := range plugin.Ports {
			if p.Name == port {
				port = strconv.Itoa(int(p.ContainerPort))
			}
		}
		if got := ready.Host + ":" + port; got != endpoint {
			t.Errorf("%s is asked, %s is served", got, endpoint)
		}
		socket, _ := flag(plugin, "endpoint")
		if alive := plugin.LivenessProbe.Exec.Command; !slices.Contains(alive, "--endpoint="+socket) {
			t.Errorf("%v asks elsewhere than at %s", alive, socket)
		}
	}
	for _, c := range controllerPod(t, all).Containers {
		if endpoint, ok := flag(c, "http-endpoint"); ok && c.LivenessProbe != nil {
			if got := ":" + c.LivenessProbe.HTTPGet.Port.String(); got != endpoint {
				t.Errorf("%s: %s is asked, %s is served", c.Name, got, endpoint)
			}
		}
	}
}

// How often and how long kubelet asks is for the values to say, and the plugin's own limit keeps below it.
func TestProbeTimes(t *testing.T) {
	times := func(c corev1.Container) (all [8]int32) {
		for i, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe} {
			if p != nil {
				copy(all[4*i:], []int32{p.InitialDelaySeconds, p.PeriodSeconds, p.TimeoutSeconds, p.FailureThreshold})
			}
		}
		return all
	}
	for name, tt := range map[string]struct {
		set, alive                string
		controller, node, sidecar [8]int32
	}{
		"defaults": {
			"", "--timeout=15000ms",
			[8]int32{0, 10, 10, 3, 10, 30, 20, 4},
			[8]int32{0, 10, 10, 3, 10, 30, 20, 4},
			[8]int32{0, 0, 0, 0, 10, 20, 10, 3},
		},
		"slow machines": {
			"controller.readinessProbe.initialDelaySeconds=5,controller.readinessProbe.periodSeconds=60,node.readinessProbe.failureThreshold=9," +
				"node.livenessProbe.timeoutSeconds=1,sidecars.leaseProbe.timeoutSeconds=45",
			"--timeout=750ms",
			[8]int32{5, 60, 10, 3, 10, 30, 20, 4},
			[8]int32{0, 10, 10, 9, 10, 30, 1, 4},
			[8]int32{0, 0, 0, 0, 10, 20, 45, 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := render(t, append(values(minimal), "--set", tt.set)...)
			node := container(t, nodePod(t, all), "portbind-csi")
			got := [][8]int32{
				times(container(t, controllerPod(t, all), "portbind-csi")), times(node), times(container(t, controllerPod(t, all), "csi-attacher")),
			}
			if diff := cmp.Diff([][8]int32{tt.controller, tt.node, tt.sidecar}, got); diff != "" {
				t.Error(diff)
			}
			if !slices.Contains(node.LivenessProbe.Exec.Command, tt.alive) {
				t.Errorf("got %v", node.LivenessProbe.Exec.Command)
			}
		})
	}
}

// The node's ports on the host are two, and different.
func TestMetricsPorts(t *testing.T) {
	all := render(t, values(minimal)...)
	ports := map[string]string{}
	for _, c := range slices.Concat(controllerPod(t, all).Containers, nodePod(t, all).Containers) {
		for _, p := range c.Ports {
			ports[p.Name+strconv.Itoa(int(p.ContainerPort))] = c.Name
		}
	}
	for _, s := range every[*corev1.Service](all) {
		for _, p := range s.Spec.Ports {
			if _, ok := ports[p.Name+p.TargetPort.String()]; !ok || s.Spec.ClusterIP != corev1.ClusterIPNone {
				t.Errorf("service %s: nobody has port %s %s", s.Name, p.Name, p.TargetPort.String())
			}
		}
	}
	if address, _ := flag(container(t, nodePod(t, all), "portbind-csi"), "metrics-address"); address != "[$(HOST_IP)]:9819" {
		t.Errorf("the node's metrics are at %s: not to be served in the storage network", address)
	}
}

// Selectors select the pods that they are about, and no others.
func TestSelectors(t *testing.T) {
	all := render(t, values(full)...)
	deployment := named[*appsv1.Deployment](t, all, release+"-controller")
	daemonSet := named[*appsv1.DaemonSet](t, all, release+"-node")
	pods := map[string]labels.Set{"controller": deployment.Spec.Template.Labels, "node": daemonSet.Spec.Template.Labels}
	selectors := map[string]map[string]metav1.LabelSelector{
		"controller": {
			"deployment": *deployment.Spec.Selector,
			"budget":     *named[*policyv1.PodDisruptionBudget](t, all, release+"-controller").Spec.Selector,
			"policy":     named[*networkingv1.NetworkPolicy](t, all, release+"-controller").Spec.PodSelector,
			"service":    {MatchLabels: named[*corev1.Service](t, all, release+"-controller-metrics").Spec.Selector},
		},
		"node": {
			"daemon set": *daemonSet.Spec.Selector,
			"service":    {MatchLabels: named[*corev1.Service](t, all, release+"-node-metrics").Spec.Selector},
		},
	}
	for component, its := range selectors {
		for who, s := range its {
			selector, err := metav1.LabelSelectorAsSelector(&s)
			if err != nil {
				t.Fatal(err)
			}
			for pod, set := range pods {
				if selector.Matches(set) != (pod == component) {
					t.Errorf("%s of the %s: matches the pods of the %s: %v", who, component, pod, pod != component)
				}
			}
		}
	}
	for _, m := range every[*serviceMonitor](all) {
		component := strings.TrimPrefix(m.Name, release+"-")
		service := named[*corev1.Service](t, all, m.Name+"-metrics")
		if !labels.SelectorFromSet(m.Spec.Selector.MatchLabels).Matches(labels.Set(service.Labels)) {
			t.Errorf("the %s's monitor does not find its service", component)
		}
		for _, e := range m.Spec.Endpoints {
			if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == e.Port }) {
				t.Errorf("the %s's monitor asks at port %s", component, e.Port)
			}
		}
	}
}

// The configurations in the ConfigMaps are what the programs take, and say what the values say.
func TestConfigurations(t *testing.T) {
	all := render(t, values(full)...)
	node, err := driver.LoadNodeConfig(configFile(t, all, release+"-node", "node.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []binding.InterfaceConfig{
		{Name: "san-a", NetDev: "eth2"},
		{Name: "san-a", MAC: "02:00:5e:10:00:01"},
		{Name: "san-b", CIDR: "192.0.2.0/24"},
		{Name: "san-b", PCI: "0000:3b:00.1", NodeSelector: map[string]string{"example.com/rack": "r7"}},
		{Name: "san-b", Driver: "mlx5_core"},
		{Name: "san-b", NetDev: "enp*s0f[01]"},
	}
	if diff := cmp.Diff(want, node.Interfaces); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	if !node.NodeAnnotation || !node.ManageSysctls || len(node.Portals) != 3 {
		t.Errorf("the node's configuration is %+v", node)
	}
	if node.InitiatorName != driver.InitiatorHost || node.Timers != driver.TimersTolerant || node.StateDir != "/var/lib/rancher/portbind" {
		t.Errorf("the node's configuration is %+v", node)
	}
	controller, err := driver.LoadControllerConfig(configFile(t, all, release+"-controller", "controller.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(controller.Targets) != 2 || controller.Targets[1].TLS.ServerName != "storage2.example.com" {
		t.Errorf("the controller's configuration is %+v", controller)
	}
	for _, i := range node.Interfaces {
		if !slices.Contains(controller.Interfaces, i.Name) {
			t.Errorf("the controller does not know interface %s, but %v", i.Name, controller.Interfaces)
		}
	}
	files := keyFiles(t, controllerPod(t, all))
	for _, target := range controller.Targets {
		for _, file := range []string{target.TLS.CA, target.TLS.Cert, target.TLS.Key} {
			if !slices.Contains(files, file) {
				t.Errorf("target %s: no Secret gives %s", target.Name, file)
			}
		}
	}
}

// configFile writes a ConfigMap's entry to where a program would read it.
func configFile(t *testing.T, all objects, name, key string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), key)
	if err := os.WriteFile(file, []byte(named[*corev1.ConfigMap](t, all, name).Data[key]), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// keyFiles are where the controller plugin sees what the targets' Secrets hold.
func keyFiles(t *testing.T, pod corev1.PodSpec) []string {
	t.Helper()
	dir := mountPath(container(t, pod, "portbind-csi"), "tls")
	var files []string
	for _, v := range pod.Volumes {
		if v.Name != "tls" {
			continue
		}
		for _, source := range v.Projected.Sources {
			for _, item := range source.Secret.Items {
				files = append(files, path.Join(dir, item.Path))
			}
		}
	}
	return files
}

// The driver takes the parameters of the classes.
func TestStorageClasses(t *testing.T) {
	all := render(t, values(full)...)
	for _, class := range every[*storagev1.StorageClass](all) {
		if class.Provisioner != driver.Name {
			t.Errorf("%s: provisioner %s", class.Name, class.Provisioner)
		}
		if _, err := volume.ParseParameters(class.Parameters); err != nil {
			t.Errorf("%s: %v", class.Name, err)
		}
	}
	want := map[string]string{
		"target": "storage1", "pool": "fast", "interfaces": "san-a,san-b", "pairing": "auto", "minPaths": "2", "fsType": "xfs",
		"csi.storage.k8s.io/controller-publish-secret-name": "san-chap", "csi.storage.k8s.io/controller-publish-secret-namespace": "storage",
		"csi.storage.k8s.io/node-stage-secret-name": "san-chap", "csi.storage.k8s.io/node-stage-secret-namespace": "storage",
	}
	san := named[*storagev1.StorageClass](t, all, "san")
	if diff := cmp.Diff(want, san.Parameters); diff != "" {
		t.Errorf("parameters (-want +got):\n%s", diff)
	}
	if !*san.AllowVolumeExpansion || *san.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
		t.Errorf("what is not said should be: expansion, and binding on first use: %+v", san)
	}
	if block := named[*storagev1.StorageClass](t, all, "san-block"); *block.AllowVolumeExpansion || *block.ReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		t.Errorf("what is said should hold: %+v", block)
	} else if block.Parameters["failureDetection"] != "fast" || block.Parameters["noPathRetry"] != "5m" {
		t.Errorf("the path policy should be there: %v", block.Parameters)
	}
}

// CSIDriver says what Kubernetes may rely on.
func TestCSIDriver(t *testing.T) {
	got := named[*storagev1.CSIDriver](t, render(t, values(minimal)...), driver.Name).Spec
	yes, no, policy, period := true, false, storagev1.FileFSGroupPolicy, int64(300)
	want := storagev1.CSIDriverSpec{
		AttachRequired: &yes, PodInfoOnMount: &no, RequiresRepublish: &no, FSGroupPolicy: &policy, SELinuxMount: &yes, StorageCapacity: &yes,
		VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}, NodeAllocatableUpdatePeriodSeconds: &period,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("CSIDriver (-want +got):\n%s", diff)
	}
}
