package chart

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

const (
	controllerAccount = release + "-controller"
	nodeAccount       = release + "-node"
)

// ask is a question to the API server's authorizer. An empty namespace is all of them, or an object outside any.
type ask struct {
	account, verb, group, resource, namespace, name string
}

// allowed answers as RBAC does, from the chart's roles and bindings alone: nobody else gives these accounts anything.
func allowed(all objects, a ask) bool {
	clusterRoles, roles := map[string][]rbacv1.PolicyRule{}, map[string][]rbacv1.PolicyRule{}
	for _, r := range every[*rbacv1.ClusterRole](all) {
		clusterRoles[r.Name] = r.Rules
	}
	for _, r := range every[*rbacv1.Role](all) {
		roles[r.Namespace+"/"+r.Name] = r.Rules
	}
	for _, b := range every[*rbacv1.ClusterRoleBinding](all) {
		if bound(b.Subjects, a.account) && permit(clusterRoles[b.RoleRef.Name], a) {
			return true
		}
	}
	for _, b := range every[*rbacv1.RoleBinding](all) {
		if b.Namespace == a.namespace && bound(b.Subjects, a.account) && permit(roles[b.Namespace+"/"+b.RoleRef.Name], a) {
			return true
		}
	}
	return false
}

func bound(subjects []rbacv1.Subject, account string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		return s.Kind == "ServiceAccount" && s.Name == account && s.Namespace == namespace
	})
}

func permit(rules []rbacv1.PolicyRule, a ask) bool {
	has := func(list []string, want string) bool {
		return slices.Contains(list, "*") || slices.Contains(list, want)
	}
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return has(r.APIGroups, a.group) && has(r.Resources, a.resource) && has(r.Verbs, a.verb) &&
			(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.name))
	})
}

// denied must not be possible, for whoever gets hold of a token.
func denied() []ask {
	return []ask{
		// The secrets of others, and any by listing.
		{controllerAccount, "list", "", "secrets", "", ""},
		{controllerAccount, "list", "", "secrets", "storage", ""},
		{controllerAccount, "watch", "", "secrets", "storage", ""},
		{controllerAccount, "get", "", "secrets", "storage", "somebodys"},
		{controllerAccount, "get", "", "secrets", namespace, "portbind-storage1"},
		{controllerAccount, "get", "", "secrets", "default", "san-chap"},
		{controllerAccount, "update", "", "secrets", "storage", "san-chap"},
		// Ways to more rights.
		{controllerAccount, "create", "", "pods", namespace, ""},
		{controllerAccount, "create", "", "pods/exec", namespace, ""},
		{controllerAccount, "create", "", "serviceaccounts/token", namespace, ""},
		{controllerAccount, "create", "rbac.authorization.k8s.io", "clusterrolebindings", "", ""},
		{controllerAccount, "escalate", "rbac.authorization.k8s.io", "clusterroles", "", ""},
		{controllerAccount, "impersonate", "", "users", "", "admin"},
		{controllerAccount, "patch", "apps", "daemonsets", namespace, nodeAccount},
		// Objects that only administrators change.
		{controllerAccount, "patch", "", "nodes", "", "node1"},
		{controllerAccount, "update", "storage.k8s.io", "storageclasses", "", "san"},
		{controllerAccount, "delete", "storage.k8s.io", "csidrivers", "", "iscsi.portbind.io"},
		{controllerAccount, "create", "storage.k8s.io", "volumeattachments", "", ""},
		{controllerAccount, "delete", "storage.k8s.io", "volumeattachments", "", "a"},
		{controllerAccount, "delete", "", "persistentvolumeclaims", "default", "data"},
		{controllerAccount, "create", "", "persistentvolumeclaims", "default", ""},
		{controllerAccount, "delete", "snapshot.storage.k8s.io", "volumesnapshots", "default", "s"},
		{controllerAccount, "delete", "snapshot.storage.k8s.io", "volumesnapshotcontents", "", "s"},
		// Other elections, other namespaces.
		{controllerAccount, "update", "coordination.k8s.io", "leases", namespace, "somebodys"},
		{controllerAccount, "update", "coordination.k8s.io", "leases", "kube-system", "kube-controller-manager"},
		{controllerAccount, "list", "coordination.k8s.io", "leases", namespace, ""},
		{controllerAccount, "create", "storage.k8s.io", "csistoragecapacities", "default", ""},
		{controllerAccount, "list", "", "pods", "default", ""},
		{controllerAccount, "get", "", "configmaps", namespace, nodeAccount},
		// A node's token is as exposed as the node.
		{nodeAccount, "get", "", "secrets", "storage", "san-chap"},
		{nodeAccount, "list", "", "secrets", "", ""},
		{nodeAccount, "list", "", "nodes", "", ""},
		{nodeAccount, "update", "", "nodes", "", "node1"},
		{nodeAccount, "delete", "", "nodes", "", "node1"},
		{nodeAccount, "patch", "", "nodes/status", "", "node1"},
		{nodeAccount, "create", "", "pods", namespace, ""},
		{nodeAccount, "get", "", "pods", "default", "p"},
		{nodeAccount, "list", "", "persistentvolumeclaims", "", ""},
		{nodeAccount, "patch", "", "persistentvolumeclaims", "default", "data"},
		{nodeAccount, "get", "", "persistentvolumes", "", "pv"},
		{nodeAccount, "delete", "", "events", "default", "e"},
		{nodeAccount, "list", "", "events", "", ""},
		{nodeAccount, "list", "", "persistentvolumes", "", ""},
		{nodeAccount, "patch", "", "persistentvolumes", "", "pv"},
		{nodeAccount, "list", "storage.k8s.io", "volumeattributesclasses", "", ""},
		{nodeAccount, "create", "storage.k8s.io", "volumeattributesclasses", "", ""},
		{nodeAccount, "get", "storage.k8s.io", "csinodes", "", "node1"},
		{nodeAccount, "update", "storage.k8s.io", "csinodes", "", "node1"},
		{nodeAccount, "get", "coordination.k8s.io", "leases", namespace, "iscsi-portbind-io"},
	}
}

func TestDenied(t *testing.T) {
	all := render(t, values(full)...)
	for _, a := range denied() {
		if allowed(all, a) {
			t.Errorf("allowed: %+v", a)
		}
	}
}

// needed is what the sidecars and the plugin do every day.
func needed() []ask {
	return []ask{
		{controllerAccount, "create", "", "persistentvolumes", "", ""},
		{controllerAccount, "delete", "", "persistentvolumes", "", "pv"},
		{controllerAccount, "patch", "", "persistentvolumes", "", "pv"},
		{controllerAccount, "patch", "storage.k8s.io", "volumeattachments/status", "", "va"},
		{controllerAccount, "patch", "", "persistentvolumeclaims/status", "default", "data"},
		{controllerAccount, "update", "snapshot.storage.k8s.io", "volumesnapshotcontents/status", "", "c"},
		{controllerAccount, "get", "", "secrets", "storage", "san-chap"},
		{controllerAccount, "get", "", "secrets", "storage", "block-chap"},
		{controllerAccount, "get", "", "secrets", "elsewhere", "by-hand"},
		{controllerAccount, "create", "coordination.k8s.io", "leases", namespace, ""},
		{controllerAccount, "update", "coordination.k8s.io", "leases", namespace, "iscsi-portbind-io"},
		{controllerAccount, "update", "coordination.k8s.io", "leases", namespace, "external-attacher-leader-iscsi-portbind-io"},
		{controllerAccount, "update", "coordination.k8s.io", "leases", namespace, "external-resizer-iscsi-portbind-io"},
		{controllerAccount, "update", "coordination.k8s.io", "leases", namespace, "external-snapshotter-leader-iscsi-portbind-io"},
		{controllerAccount, "create", "storage.k8s.io", "csistoragecapacities", namespace, ""},
		{controllerAccount, "get", "apps", "replicasets", namespace, "rs"},
		{nodeAccount, "create", "", "events", "", ""},
		{nodeAccount, "get", "", "persistentvolumeclaims", "", "data"},
		{nodeAccount, "patch", "", "nodes", "", "node1"},
		{nodeAccount, "watch", "", "nodes", "", "node1"},
		{nodeAccount, "watch", "", "persistentvolumes", "", "pv"},
		{nodeAccount, "get", "storage.k8s.io", "volumeattributesclasses", "", "fixed-a"},
	}
}

func TestAllowed(t *testing.T) {
	all := render(t, values(full)...)
	for _, a := range needed() {
		if !allowed(all, a) {
			t.Errorf("not allowed: %+v", a)
		}
	}
}

// No wildcard hides what is given, and nothing is bound to anybody but the chart's two accounts.
func TestRules(t *testing.T) {
	all := render(t, values(full)...)
	var rules []rbacv1.PolicyRule
	for _, r := range every[*rbacv1.ClusterRole](all) {
		rules = append(rules, r.Rules...)
	}
	for _, r := range every[*rbacv1.Role](all) {
		rules = append(rules, r.Rules...)
	}
	for _, r := range rules {
		if slices.Contains(slices.Concat(r.APIGroups, r.Resources, r.Verbs), "*") || len(r.NonResourceURLs) > 0 {
			t.Errorf("too wide: %+v", r)
		}
		if slices.Contains(r.Resources, "secrets") && len(r.ResourceNames) == 0 {
			t.Errorf("secrets without names: %+v", r)
		}
	}
	var subjects []rbacv1.Subject
	for _, b := range every[*rbacv1.ClusterRoleBinding](all) {
		subjects = append(subjects, b.Subjects...)
	}
	for _, b := range every[*rbacv1.RoleBinding](all) {
		subjects = append(subjects, b.Subjects...)
	}
	for _, s := range subjects {
		if !bound([]rbacv1.Subject{s}, controllerAccount) && !bound([]rbacv1.Subject{s}, nodeAccount) {
			t.Errorf("bound to %+v", s)
		}
	}
}

// What is switched off needs no rights.
func TestRightsFollowSwitches(t *testing.T) {
	off := render(t, append(values(minimal), "--set",
		"sidecars.snapshotter.enabled=false,csiDriver.storageCapacity=false,node.events=false,node.livePolicy=false")...)
	for _, a := range []ask{
		{controllerAccount, "patch", "snapshot.storage.k8s.io", "volumesnapshotcontents", "", "c"},
		{controllerAccount, "create", "storage.k8s.io", "csistoragecapacities", namespace, ""},
		{controllerAccount, "get", "", "pods", namespace, "p"},
		{nodeAccount, "patch", "", "nodes", "", "node1"},
		{nodeAccount, "get", "", "nodes", "", "node1"},
		{nodeAccount, "watch", "", "nodes", "", "node1"},
		{nodeAccount, "create", "", "events", "", ""},
		{nodeAccount, "get", "", "persistentvolumeclaims", "", "data"},
		{nodeAccount, "watch", "", "persistentvolumes", "", "pv"},
		{nodeAccount, "get", "storage.k8s.io", "volumeattributesclasses", "", "fixed-a"},
	} {
		if allowed(off, a) {
			t.Errorf("allowed: %+v", a)
		}
	}
	if mounts(container(t, nodePod(t, off), "portbind-csi"), "api-access") {
		t.Error("the node plugin has a token that it does not use")
	}
}

// Who has which initiator name is looked at where two nodes may have one.
func TestNamesAreCompared(t *testing.T) {
	for name, want := range map[string]bool{"auto": false, "host": true, "iqn.2026-11.io.example:n": true} {
		all := render(t, append(values(minimal), "--set", "node.events=false,node.livePolicy=false,initiatorName="+name)...)
		for _, a := range []ask{
			{nodeAccount, "list", "storage.k8s.io", "csinodes", "", ""},
			{nodeAccount, "get", "", "nodes", "", "node1"},
		} {
			if allowed(all, a) != want {
				t.Errorf("%s: %+v: %v", name, a, !want)
			}
		}
		if allowed(all, ask{nodeAccount, "watch", "", "nodes", "", "node1"}) {
			t.Errorf("%s: nodes may be watched, whose interfaces do not depend on them", name)
		}
		if mounts(container(t, nodePod(t, all), "portbind-csi"), "api-access") != want {
			t.Errorf("%s: token: %v", name, !want)
		}
	}
}

// A node is read and watched where its interfaces depend on it, and not changed.
func TestNodeIsRead(t *testing.T) {
	for _, set := range []string{"nodeAnnotation=true", "interfaces[0].name=a,interfaces[0].netdev=eth0,interfaces[0].nodeSelector.rack=r1"} {
		all := render(t, append(values(minimal), "--set", "node.events=false,node.livePolicy=false,"+set)...)
		for verb, want := range map[string]bool{"get": true, "watch": true, "list": false, "patch": false} {
			if allowed(all, ask{nodeAccount, verb, "", "nodes", "", "node1"}) != want {
				t.Errorf("%s: %s nodes: %v", set, verb, !want)
			}
		}
		if !mounts(container(t, nodePod(t, all), "portbind-csi"), "api-access") {
			t.Errorf("%s: the node plugin has no token", set)
		}
	}
}
