package clusterenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// release is the chart's in the lab, and the namespace that it is in.
const release = "portbind"

// Driver runs kubectl in the driver's namespace.
func (e *Env) Driver(args ...string) string {
	e.T.Helper()
	return e.Kubectl(append([]string{"--namespace", release}, args...)...)
}

// DriverPods are the driver's pods of a component, controller or node, as pod/NAME, in the order of their names.
func (e *Env) DriverPods(component string, more ...string) []string {
	e.T.Helper()
	args := []string{"get", "pods", "--selector", "app.kubernetes.io/component=" + component, "--output", "name"}
	return strings.Fields(e.Driver(append(args, more...)...))
}

// NodePlugin is the pod of the node plugin on that node, as pod/NAME.
func (e *Env) NodePlugin(node string) string {
	e.T.Helper()
	pods := e.DriverPods("node", "--field-selector", "spec.nodeName="+node)
	if len(pods) != 1 {
		e.T.Fatalf("node plugins on %s: %q", node, pods)
	}
	return pods[0]
}

// DriverReady waits until all of the driver's pods are those that they should be, and ready.
func (e *Env) DriverReady() {
	e.T.Helper()
	e.Driver("rollout", "status", "--timeout="+Limit.String(), "daemonset,deployment")
}

// Release is what is installed of the driver. When the test ends, it is installed as it was before.
type Release struct {
	e      *Env
	helm   string
	chart  string
	values string // file with the values that it was installed with
}

// Release finds out how the driver was installed.
func (e *Env) Release() *Release {
	e.T.Helper()
	root := filepath.Dir(filepath.Dir(os.Getenv("LAB_CLUSTER")))
	helm, err := exec.Command(filepath.Join(root, "hack/tool"), "helm").Output()
	e.must(err)
	r := &Release{
		e: e, helm: strings.TrimSpace(string(helm)), chart: filepath.Join(root, "charts/portbind-csi"),
		values: filepath.Join(e.T.TempDir(), "values.yaml"),
	}
	e.must(os.WriteFile(r.values, []byte(r.run("get", "values", release, "--output", "yaml")), 0o600))
	e.T.Cleanup(func() { r.Install() })
	return r
}

func (r *Release) run(args ...string) string {
	r.e.T.Helper()
	cmd := exec.Command(r.helm, append(args, "--namespace", release)...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		r.e.T.Fatalf("helm %s: %v: %s", strings.Join(args, " "), err, complaint.String())
	}
	return string(out)
}

// Install installs or upgrades, with values changed as helm's --set has them, and waits until all pods are ready.
func (r *Release) Install(set ...string) {
	r.e.T.Helper()
	r.Change(set...)
	r.e.DriverReady()
}

// Change is Install for what lets some pods never become ready: it does not wait.
func (r *Release) Change(set ...string) {
	r.e.T.Helper()
	args := []string{"upgrade", "--install", release, r.chart, "--values", r.values}
	for _, value := range set {
		args = append(args, "--set", value)
	}
	r.run(args...)
}

// Uninstall removes the driver and waits until its pods are gone.
func (r *Release) Uninstall() {
	r.e.T.Helper()
	r.run("uninstall", release)
	for _, component := range []string{"controller", "node"} {
		r.e.Eventually(Limit, "no pods of the driver", func() bool { return len(r.e.DriverPods(component)) == 0 })
	}
}
