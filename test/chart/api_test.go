//go:build cluster

package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kubectl speaks to the cluster of KUBECONFIG, normally the lab's: PKGS=./test/chart make test-cluster.
func kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "kubectl", args...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, complaint.String())
	}
	return out.String(), nil
}

func mustKubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := kubectl(t, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// installRights applies what the chart says of accounts, roles and admission, and nothing that runs.
func installRights(t *testing.T) {
	t.Helper()
	out, err := template(t, values(full)...)
	if err != nil {
		t.Fatal(err)
	}
	var docs []string
	for doc := range strings.SplitSeq("\n"+out, "\n---\n") {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			t.Fatal(err)
		}
		if slices.Contains([]string{
			"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy",
			"ValidatingAdmissionPolicyBinding",
		}, meta.Kind) {
			docs = append(docs, doc)
		}
	}
	for _, ns := range []string{namespace, "storage", "elsewhere"} {
		if _, err := kubectl(t, "", "create", "namespace", ns); err == nil {
			t.Cleanup(func() { _ = exec.Command("kubectl", "delete", "namespace", ns, "--timeout=2m").Run() }) //nolint:noctx,forbidigo,gosec // cleanup
		}
	}
	all := strings.Join(docs, "\n---\n")
	t.Cleanup(func() {
		cmd := exec.Command("kubectl", "delete", "--ignore-not-found", "-f", "-") //nolint:noctx,forbidigo // the test's context is over
		cmd.Stdin = strings.NewReader(all)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("cleanup: %v: %s", err, out)
		}
	})
	mustKubectl(t, all, "apply", "-f", "-")
}

// A real API server holds what the chart says of rights.
func TestRightsOnAPIServer(t *testing.T) {
	installRights(t)
	t.Run("roles", testRoles)
	t.Run("taint policy", testTaintPolicy)
}

// A real authorizer answers the questions of the tables as they say.
func testRoles(t *testing.T) {
	asks := slices.Concat(denied(), needed())
	list := map[string]any{"apiVersion": "v1", "kind": "List"}
	items := make([]any, len(asks))
	for i, a := range asks {
		items[i] = review(a)
	}
	list["items"] = items
	manifest, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	// One object after the other, in the order of the list.
	answers := json.NewDecoder(strings.NewReader(mustKubectl(t, string(manifest), "create", "-o", "json", "-f", "-")))
	for i, a := range asks {
		var got authorizationv1.SubjectAccessReview
		if err := answers.Decode(&got); err != nil {
			t.Fatalf("answer to %+v: %v", a, err)
		}
		if want := i >= len(denied()); got.Status.Allowed != want {
			t.Errorf("%+v: allowed is %v, %s", a, got.Status.Allowed, got.Status.Reason)
		}
	}
}

func review(a ask) authorizationv1.SubjectAccessReview {
	resource, sub, _ := strings.Cut(a.resource, "/")
	return authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"},
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + namespace + ":" + a.account, Groups: []string{"system:serviceaccounts", "system:authenticated"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: a.verb, Group: a.group, Resource: resource, Subresource: sub, Namespace: a.namespace, Name: a.name,
			},
		},
	}
}

// The admission policy lets a node plugin remove the start-up taint from its own node, and nothing else of any.
func testTaintPolicy(t *testing.T) {
	const node = "chart-test"
	mustKubectl(t, `
apiVersion: v1
kind: Node
metadata: { name: `+node+` }
spec:
  taints:
    - { key: iscsi.portbind.io/agent-not-ready, effect: NoSchedule }
    - { key: other, effect: NoSchedule }
`, "apply", "-f", "-")
	t.Cleanup(func() { _ = exec.Command("kubectl", "delete", "node", node).Run() }) //nolint:noctx,forbidigo // the test's context is over
	patch := func(on, what string) error {
		_, err := kubectl(t, "", "--as=system:serviceaccount:"+namespace+":"+nodeAccount,
			"--as-user-extra=authentication.kubernetes.io/node-name="+on, "patch", "node", node, "--type=merge", "--patch", what)
		return err
	}
	const other = `{"key":"other","effect":"NoSchedule"}`
	ours := `{"spec":{"taints":[` + other + `]}}`
	for name, c := range map[string]struct{ on, what, want string }{
		"of another node": {"elsewhere", ours, "may change only the node that it runs on"},
		"another taint":   {node, `{"spec":{"taints":[{"key":"iscsi.portbind.io/agent-not-ready","effect":"NoSchedule"}]}}`, "may remove no taint but"},
		"a new taint":     {node, `{"spec":{"taints":[` + other + `,{"key":"x","effect":"NoExecute"}]}}`, "may not add or change taints"},
		"a label":         {node, `{"metadata":{"labels":{"a":"b"}}}`, "may change nothing of a node but its taints"},
		"cordon":          {node, `{"spec":{"unschedulable":true}}`, "may change nothing of a node but its taints"},
	} {
		if err := patch(c.on, c.what); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want a refusal that says %q, got: %v", name, c.want, err)
		}
	}
	if err := patch(node, ours); err != nil {
		t.Errorf("the start-up taint of its own node: %v", err)
	}
}
