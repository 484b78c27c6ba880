package chart

import (
	"fmt"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagev1beta1 "k8s.io/api/storage/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// serviceMonitor is as much of the Prometheus operator's type as the chart uses.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port        string `json:"port"`
			Interval    string `json:"interval"`
			HonorLabels bool   `json:"honorLabels"`
			Relabelings []struct {
				SourceLabels []string `json:"sourceLabels"`
				TargetLabel  string   `json:"targetLabel"`
			} `json:"relabelings"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// prometheusRule is as much of the Prometheus operator's type as the chart uses.
type prometheusRule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

// kinds are the types that the chart may make, by apiVersion and kind.
var kinds = map[string]func() metav1.Object{
	"v1 ConfigMap":                            func() metav1.Object { return &corev1.ConfigMap{} },
	"v1 Service":                              func() metav1.Object { return &corev1.Service{} },
	"v1 ServiceAccount":                       func() metav1.Object { return &corev1.ServiceAccount{} },
	"apps/v1 Deployment":                      func() metav1.Object { return &appsv1.Deployment{} },
	"apps/v1 DaemonSet":                       func() metav1.Object { return &appsv1.DaemonSet{} },
	"networking.k8s.io/v1 NetworkPolicy":      func() metav1.Object { return &networkingv1.NetworkPolicy{} },
	"policy/v1 PodDisruptionBudget":           func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
	"storage.k8s.io/v1 CSIDriver":             func() metav1.Object { return &storagev1.CSIDriver{} },
	"storage.k8s.io/v1 StorageClass":          func() metav1.Object { return &storagev1.StorageClass{} },
	"monitoring.coreos.com/v1 ServiceMonitor": func() metav1.Object { return &serviceMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule": func() metav1.Object { return &prometheusRule{} },

	"storage.k8s.io/v1 VolumeAttributesClass":      func() metav1.Object { return &storagev1.VolumeAttributesClass{} },
	"storage.k8s.io/v1beta1 VolumeAttributesClass": func() metav1.Object { return &storagev1beta1.VolumeAttributesClass{} },
	"snapshot.storage.k8s.io/v1 VolumeSnapshotClass": func() metav1.Object {
		return &snapshotv1.VolumeSnapshotClass{}
	},
	"rbac.authorization.k8s.io/v1 Role":               func() metav1.Object { return &rbacv1.Role{} },
	"rbac.authorization.k8s.io/v1 RoleBinding":        func() metav1.Object { return &rbacv1.RoleBinding{} },
	"rbac.authorization.k8s.io/v1 ClusterRole":        func() metav1.Object { return &rbacv1.ClusterRole{} },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": func() metav1.Object { return &rbacv1.ClusterRoleBinding{} },
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy": func() metav1.Object {
		return &admissionv1.ValidatingAdmissionPolicy{}
	},
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding": func() metav1.Object {
		return &admissionv1.ValidatingAdmissionPolicyBinding{}
	},
}

// objects are those of one render, in its order.
type objects []metav1.Object

// decode reads a render strictly: an unknown kind, an unknown field and a field that is there twice are errors, and so is an
// object that is there twice.
func decode(render string) (objects, error) {
	var all objects
	seen := map[string]bool{}
	for doc := range strings.SplitSeq("\n"+render, "\n---\n") {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
		if meta == (metav1.TypeMeta{}) {
			continue
		}
		kind := meta.APIVersion + " " + meta.Kind
		build, ok := kinds[kind]
		if !ok {
			return nil, fmt.Errorf("no type for %s", kind)
		}
		obj := build()
		if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
			return nil, fmt.Errorf("%s: %w in\n%s", kind, err, doc)
		}
		id := kind + " " + obj.GetNamespace() + "/" + obj.GetName()
		if seen[id] {
			return nil, fmt.Errorf("%s is there twice", id)
		}
		seen[id] = true
		all = append(all, obj)
	}
	return all, nil
}

// every gives all objects of one type.
func every[T metav1.Object](all objects) []T {
	var found []T
	for _, o := range all {
		if t, ok := o.(T); ok {
			found = append(found, t)
		}
	}
	return found
}

// named gives the object of that type and name, which has to be there.
func named[T metav1.Object](t *testing.T, all objects, name string) T {
	t.Helper()
	for _, o := range every[T](all) {
		if o.GetName() == name {
			return o
		}
	}
	var none T
	t.Fatalf("the chart makes no %T %s", none, name)
	return none
}

func controllerPod(t *testing.T, all objects) corev1.PodSpec {
	t.Helper()
	return named[*appsv1.Deployment](t, all, release+"-controller").Spec.Template.Spec
}

func nodePod(t *testing.T, all objects) corev1.PodSpec {
	t.Helper()
	return named[*appsv1.DaemonSet](t, all, release+"-node").Spec.Template.Spec
}

// container finds one of a pod by its name.
func container(t *testing.T, pod corev1.PodSpec, name string) corev1.Container {
	t.Helper()
	for _, c := range pod.Containers {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no container %s", name)
	return corev1.Container{}
}

// flag gives the value of --name=value; ok is false when it is not among the arguments.
func flag(c corev1.Container, name string) (value string, ok bool) {
	for _, arg := range c.Args {
		got, value, _ := strings.Cut(arg, "=")
		if got == "--"+name {
			return value, true
		}
	}
	return "", false
}
