package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// hostPath is the directory of the host behind a volume.
func hostPath(volumes []corev1.Volume, name string) string {
	for _, v := range volumes {
		if v.Name == name && v.HostPath != nil {
			return v.HostPath.Path
		}
	}
	return ""
}

// The controller's pods pass the "restricted" profile of the Pod Security Standards, and have a read-only root on top.
func TestControllerRestricted(t *testing.T) {
	for _, file := range []string{minimal, full} {
		pod := controllerPod(t, render(t, values(file)...))
		if pod.HostNetwork || pod.HostPID || pod.HostIPC {
			t.Error("the controller is in a namespace of the host")
		}
		sc := pod.SecurityContext
		if sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot || *sc.RunAsUser == 0 || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("the pod's security context is %+v", sc)
		}
		for _, v := range pod.Volumes {
			if v.EmptyDir == nil && v.ConfigMap == nil && v.Projected == nil {
				t.Errorf("volume %s is neither emptyDir nor ConfigMap nor projected", v.Name)
			}
		}
		for _, c := range pod.Containers {
			restricted(t, c)
		}
	}
}

// Of the node's pod one container is privileged; the others have nothing but root's name.
func TestNodePrivileges(t *testing.T) {
	pod := nodePod(t, render(t, values(full)...))
	for _, c := range pod.Containers {
		if c.Name != "portbind-csi" {
			restricted(t, c)
			continue
		}
		if sc := c.SecurityContext; sc.Privileged == nil || !*sc.Privileged || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem {
			t.Errorf("the plugin's security context is %+v", sc)
		}
	}
	if pod.HostIPC {
		t.Error("nobody needs the host's IPC")
	}
}

// docs/privileges.md gives the reason for each of these directories.
func TestNodeHostPaths(t *testing.T) {
	pod := nodePod(t, render(t, values(minimal)...))
	got := map[string]string{}
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			got[v.Name] = v.HostPath.Path
		}
	}
	want := map[string]string{
		"socket": "/var/lib/kubelet/plugins/iscsi.portbind.io", "registration": "/var/lib/kubelet/plugins_registry",
		"kubelet": "/var/lib/kubelet", "state": "/var/lib/portbind", "dev": "/dev",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("directories of the host (-want +got):\n%s", diff)
	}
	for _, c := range pod.Containers {
		for _, m := range c.VolumeMounts {
			propagates := m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationBidirectional
			if propagates != (c.Name == "portbind-csi" && m.Name == "kubelet") {
				t.Errorf("%s: mount %s propagates: %v", c.Name, m.Name, propagates)
			}
			if c.Name != "portbind-csi" && !slices.Contains([]string{"socket", "registration"}, m.Name) {
				t.Errorf("%s has mount %s", c.Name, m.Name)
			}
		}
	}
}

func restricted(t *testing.T, c corev1.Container) {
	t.Helper()
	sc := c.SecurityContext
	switch {
	case sc == nil:
		t.Errorf("%s has no security context", c.Name)
	case sc.Privileged != nil && *sc.Privileged:
		t.Errorf("%s is privileged", c.Name)
	case sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation:
		t.Errorf("%s may escalate privileges", c.Name)
	case sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem:
		t.Errorf("%s can write to its root", c.Name)
	case !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0:
		t.Errorf("%s has capabilities %+v", c.Name, sc.Capabilities)
	}
}

// The API server's token is where it is used, and nowhere else: the controller plugin, which holds the storage's keys, has none,
// and the sidecars, which have it, do not see these.
func TestTokens(t *testing.T) {
	all := render(t, values(full)...)
	for _, pod := range []corev1.PodSpec{controllerPod(t, all), nodePod(t, all)} {
		if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
			t.Error("the token is mounted everywhere")
		}
	}
	for _, c := range controllerPod(t, all).Containers {
		_, elects := flag(c, "leader-election")
		if has := mounts(c, "api-access"); has != elects {
			t.Errorf("%s: token %v, leader election %v", c.Name, has, elects)
		}
		if mounts(c, "tls") != (c.Name == "portbind-csi") {
			t.Errorf("%s: sees the targets' keys: %v", c.Name, mounts(c, "tls"))
		}
	}
	for _, c := range nodePod(t, all).Containers {
		if mounts(c, "api-access") && c.Name != "portbind-csi" {
			t.Errorf("%s has the token", c.Name)
		}
	}
}

func mounts(c corev1.Container, volume string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume })
}

// Every image, its tag and its pull policy come from the values, so that a mirror or a machine without any registry can be used.
func TestImages(t *testing.T) {
	args := append(values(full), "--set", "image.repository=mirror.test/portbind-csi,image.digest=,image.tag=t0,image.pullPolicy=Never")
	sidecars, ok := defaults(t)["sidecars"].(map[string]any)
	if !ok {
		t.Fatal("no sidecars in values.yaml")
	}
	for name, v := range sidecars {
		if s, ok := v.(map[string]any); ok && s["image"] != nil {
			image := "sidecars." + name + ".image."
			args = append(args, "--set", image+"repository=mirror.test/"+name+","+image+"tag=t1,"+image+"pullPolicy=Never")
		}
	}
	all := render(t, args...)
	for _, c := range slices.Concat(controllerPod(t, all).Containers, nodePod(t, all).Containers) {
		if !strings.HasPrefix(c.Image, "mirror.test/") || !strings.Contains(c.Image, ":t") || c.ImagePullPolicy != corev1.PullNever {
			t.Errorf("%s: image %s, pulled %s", c.Name, c.Image, c.ImagePullPolicy)
		}
	}
}

// An empty tag is the chart's appVersion; a digest goes before it.
func TestOwnImage(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"image.tag=", "ghcr.io/portbind/portbind-csi:0.1.0"},
		{"image.tag=v9", "ghcr.io/portbind/portbind-csi:v9"},
		{"image.tag=v9,image.digest=sha256:" + strings.Repeat("a", 64), "ghcr.io/portbind/portbind-csi@sha256:" + strings.Repeat("a", 64)},
	} {
		all := render(t, append(values(minimal), "--set", c.set)...)
		for _, pod := range []corev1.PodSpec{controllerPod(t, all), nodePod(t, all)} {
			if got := container(t, pod, "portbind-csi").Image; got != c.want {
				t.Errorf("%s: image %s, want %s", c.set, got, c.want)
			}
		}
	}
}

// Pull secrets reach both pods.
func TestPullSecrets(t *testing.T) {
	all := render(t, values(full)...)
	for _, pod := range []corev1.PodSpec{controllerPod(t, all), nodePod(t, all)} {
		if len(pod.ImagePullSecrets) != 1 || pod.ImagePullSecrets[0].Name != "registry" {
			t.Errorf("pull secrets: %v", pod.ImagePullSecrets)
		}
	}
}

// An upgrade replaces few node plugins at a time, and one controller of two.
func TestUpdates(t *testing.T) {
	all := render(t, values(minimal)...)
	node := named[*appsv1.DaemonSet](t, all, release+"-node").Spec.UpdateStrategy
	if node.Type != appsv1.RollingUpdateDaemonSetStrategyType || node.RollingUpdate.MaxUnavailable.String() != "10%" {
		t.Errorf("node plugins are updated so: %+v", node)
	}
	controller := named[*appsv1.Deployment](t, all, release+"-controller").Spec
	if *controller.Replicas != 2 || controller.Strategy.RollingUpdate.MaxUnavailable.String() != "1" {
		t.Errorf("%d controllers, updated so: %+v", *controller.Replicas, controller.Strategy)
	}
}
