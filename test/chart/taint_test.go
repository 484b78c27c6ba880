package chart

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// The plugin is told of the taint when it may remove it, and the policy that narrows its right speaks of this taint and this
// account.
func TestStartupTaint(t *testing.T) {
	const taint = "iscsi.portbind.io/agent-not-ready"
	on := render(t, append(values(minimal), "--set", "node.startupTaint.remove=true")...)
	if got, _ := flag(container(t, nodePod(t, on), "portbind-csi"), "startup-taint"); got != taint {
		t.Errorf("--startup-taint=%s", got)
	}
	policy := named[*admissionv1.ValidatingAdmissionPolicy](t, on, nodeAccount).Spec
	if who := "'system:serviceaccount:" + namespace + ":" + nodeAccount + "'"; !strings.Contains(policy.MatchConditions[0].Expression, who) {
		t.Errorf("the policy is for %s", policy.MatchConditions[0].Expression)
	}
	var all strings.Builder
	for _, v := range policy.Validations {
		all.WriteString(v.Expression)
	}
	if !strings.Contains(all.String(), "'"+taint+"'") || *policy.FailurePolicy != admissionv1.Fail {
		t.Errorf("the policy is %s, when it fails: %s", all.String(), *policy.FailurePolicy)
	}
	binding := named[*admissionv1.ValidatingAdmissionPolicyBinding](t, on, nodeAccount).Spec
	if binding.PolicyName != nodeAccount || len(binding.ValidationActions) != 1 || binding.ValidationActions[0] != admissionv1.Deny {
		t.Errorf("the policy is bound so: %+v", binding)
	}

	off := render(t, values(minimal)...)
	if got, ok := flag(container(t, nodePod(t, off), "portbind-csi"), "startup-taint"); ok {
		t.Errorf("nobody asked for it: --startup-taint=%s", got)
	}
	if n := len(every[*admissionv1.ValidatingAdmissionPolicy](off)); n != 0 {
		t.Errorf("%d policies for nothing", n)
	}
}

// The notes name what there is.
func TestNotes(t *testing.T) {
	out, err := helm(t, "install", release, chartDir, "--namespace", namespace, "--dry-run=client", "--values", full)
	if err != nil {
		t.Fatal(err)
	}
	_, notes, ok := strings.Cut(out, "NOTES:")
	for _, want := range []string{
		"deployment/" + release + "-controller", "daemonset/" + release + "-node", "-n " + namespace, "storageClassName: san\n", "iscsi.portbind.io",
	} {
		if !ok || !strings.Contains(notes, want) {
			t.Errorf("the notes do not say %q:\n%s", want, notes)
		}
	}
}
