// Package clusterenv is what scenarios on the lab's Kubernetes cluster are built from. They run on the bare machine, against the
// cluster that hack/cluster/up left running, and do with kubectl what a user would do.
//
// Each Env has a namespace of its own, which goes at the test's end with everything in it. Helpers fail the test on errors of the
// lab itself; what a scenario is to judge is returned.
package clusterenv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/machine"
)

// Env is one scenario's surroundings.
type Env struct {
	T         *testing.T
	Namespace string
	Target    *Machine
	Nodes     []*Machine
	artefacts string
	lock      *os.File
	shared    bool
}

// Machine is one of the cluster's, for what kubectl cannot do.
type Machine struct {
	*machine.Machine
	e *Env
}

// Limit is how long anything that is waited for may take, on a machine that is busy with other things.
const Limit = 10 * time.Minute

// New makes a namespace for the test, which has the cluster for itself. At the end it and everything in it is deleted, and what is
// left then on the machines fails the test.
func New(t *testing.T) *Env {
	t.Helper()
	e := connect(t)
	e.must(e.hold(alone))
	for _, m := range append(slices.Clone(e.Nodes), e.Target) {
		t.Cleanup(func() { e.plugIn(m.Machine) })
	}
	if left := e.Leftovers(); len(left) > 0 {
		t.Fatalf("left over from earlier:\n%s", strings.Join(left, "\n"))
	}
	e.namespace()
	return e
}

// Shared is New for a test that disturbs nothing and nobody: it runs beside others of its kind. What is left on the machines fails
// the one of them that ends last.
func Shared(t *testing.T) *Env {
	t.Helper()
	t.Parallel()
	e := connect(t)
	e.shared = true
	e.must(e.hold(together))
	e.namespace()
	return e
}

func connect(t *testing.T) *Env {
	t.Helper()
	dir := os.Getenv("LAB_CLUSTER")
	if dir == "" {
		t.Fatal("no cluster: run this with make test-cluster")
	}
	e := &Env{T: t, Namespace: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))}
	e.artefacts = filepath.Join(os.Getenv("LAB_ARTEFACTS"), e.Namespace)
	e.must(os.RemoveAll(e.artefacts))
	var err error
	e.lock, err = os.Create(filepath.Join(dir, "run", "scenarios.lock"))
	e.must(err)
	t.Cleanup(func() { _ = e.lock.Close() })
	set, err := machine.Connect(layout.LabSocket(layout.Layout{Run: filepath.Join(dir, "run")}))
	e.must(err)
	t.Cleanup(func() { _ = set.Close() })
	e.Target = &Machine{set.With("target")[0], e}
	for _, m := range set.With("node") {
		e.Nodes = append(e.Nodes, &Machine{m, e})
	}
	return e
}

func (e *Env) namespace() {
	e.T.Helper()
	e.Kubectl("create", "namespace", e.Namespace)
	e.T.Cleanup(func() {
		if e.T.Failed() {
			e.save()
		}
		_, _ = e.Try("delete", "pods", "--all", "--grace-period=1", "--timeout="+Limit.String())
		if _, err := e.Try("delete", "namespace", e.Namespace, "--timeout="+Limit.String()); err != nil {
			e.T.Errorf("cleanup: %v", err)
		}
		e.finish()
	})
}

func (e *Env) must(err error) {
	e.T.Helper()
	if err != nil {
		e.T.Fatalf("lab: %v", err)
	}
}

// Kubectl runs kubectl in the test's namespace and returns its output. A failure fails the test.
func (e *Env) Kubectl(args ...string) string {
	e.T.Helper()
	out, err := e.Try(args...)
	e.must(err)
	return out
}

// Try is Kubectl with the failure returned.
func (e *Env) Try(args ...string) (string, error) { return e.kubectl("", args...) }

// Apply applies manifests.
func (e *Env) Apply(manifests ...string) {
	e.T.Helper()
	_, err := e.kubectl(strings.Join(manifests, "\n---\n"), "apply", "-f", "-")
	e.must(err)
}

func (e *Env) kubectl(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Limit+time.Minute)
	defer cancel()
	args = slices.Concat([]string{"--namespace", e.Namespace}, args)
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args[2:], " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Ready waits until the pods of these names are ready, and returns how long that took.
func (e *Env) Ready(pods ...string) time.Duration {
	e.T.Helper()
	began := time.Now()
	for _, pod := range pods {
		e.Kubectl("wait", "--for=condition=Ready", "pod/"+pod, "--timeout="+Limit.String())
	}
	return time.Since(began)
}

// Delete deletes objects, as TYPE/NAME, and waits until they are gone.
func (e *Env) Delete(objects ...string) time.Duration {
	e.T.Helper()
	began := time.Now()
	e.Kubectl(slices.Concat([]string{"delete", "--timeout=" + Limit.String()}, objects)...)
	return time.Since(began)
}

// Sh runs a shell script in a pod and returns its output, trimmed.
func (e *Env) Sh(pod, script string) string {
	e.T.Helper()
	return strings.TrimSpace(e.Kubectl("exec", pod, "--", "/bin/sh", "-ec", script))
}

// Eventually polls every second until ok returns true; after the timeout it fails the test.
func (e *Env) Eventually(timeout time.Duration, what string, ok func() bool) time.Duration {
	e.T.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > timeout {
			e.T.Fatalf("not within %v: %s", timeout, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// save keeps what is known about a failure.
func (e *Env) save() {
	if err := os.MkdirAll(e.artefacts, 0o755); err != nil {
		return
	}
	logs := []string{"-n", "portbind", "logs", "--tail=-1", "--prefix", "-l"}
	for name, args := range map[string][]string{
		"objects.txt":     {"get", "pods,persistentvolumeclaims,persistentvolumes,volumeattachments,volumesnapshots", "-o", "wide"},
		"describe.txt":    {"describe", "pods,persistentvolumeclaims,volumesnapshots"},
		"events.txt":      {"get", "events", "--sort-by=.lastTimestamp"},
		"controller.log":  append(slices.Clip(logs), "app.kubernetes.io/component=controller", "-c", "portbind-csi"),
		"node.log":        append(slices.Clip(logs), "app.kubernetes.io/component=node", "-c", "portbind-csi"),
		"provisioner.log": append(slices.Clip(logs), "app.kubernetes.io/component=controller", "-c", "csi-provisioner"),
	} {
		out, err := e.Try(args...)
		_ = os.WriteFile(filepath.Join(e.artefacts, name), fmt.Appendf(nil, "%s\n%v\n", out, err), 0o644) // best effort
	}
	for _, m := range append(slices.Clone(e.Nodes), e.Target) {
		out, err := m.Try("sh", "-c", "dmesg | tail -n 300; ps axo pid,ppid,stat,wchan:24,args; dmsetup ls --tree; cat /proc/mounts")
		_ = os.WriteFile(filepath.Join(e.artefacts, m.Name+".txt"), fmt.Appendf(nil, "%s\n%v\n", out, err), 0o644) // best effort
	}
	e.T.Logf("what was found after the failure is in %s; the daemons' logs are in %s/run", e.artefacts, os.Getenv("LAB_CLUSTER"))
}

// Count is how often something is to be done: what the environment variable of that name says, or the default.
func Count(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of times", name, text)
	}
	return n
}
