//go:build cluster

package moves

import (
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// One replica with a volume, which may or may not be disrupted.
const application = `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: busybox:lab
          imagePullPolicy: Never
          command: [/bin/sh, -ec, exec sleep infinity]
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: app}
spec: {maxUnavailable: 0, selector: {matchLabels: {app: app}}}
`

// A node is not drained of a pod that may not be disrupted. Once it may, it starts on the other node with its volume, and the node
// has nothing left of it.
func TestDrain(t *testing.T) {
	e := clusterenv.New(t)
	e.Apply(clusterenv.Claim{Name: "data"}.Manifest(), application)
	e.Kubectl("rollout", "status", "deployment/app", "--timeout="+clusterenv.Limit.String())
	from := e.Node(e.Kubectl("get", "pods", "--output", "jsonpath={.items[0].spec.nodeName}"))
	sum := fill(e, "deployment/app")

	t.Cleanup(func() { e.Kubectl("uncordon", from.Name); e.DriverReady() })
	drain := []string{"drain", from.Name, "--ignore-daemonsets", "--delete-emptydir-data"}
	if out, err := e.Try(append(drain, "--timeout=20s")...); err == nil || !strings.Contains(err.Error(), "disruption budget") {
		t.Errorf("drained against the disruption budget: %v: %s", err, out)
	}
	if got := read(e, "deployment/app"); got != sum {
		t.Errorf("after the refused drain the file is %s, not %s", got, sum)
	}
	e.Kubectl("patch", "poddisruptionbudget", "app", "--patch", `{"spec": {"maxUnavailable": 1}}`)
	e.Kubectl(append(drain, "--timeout="+clusterenv.Limit.String())...)
	e.Kubectl("rollout", "status", "deployment/app", "--timeout="+clusterenv.Limit.String())
	if to := e.Kubectl("get", "pods", "--output", "jsonpath={.items[*].spec.nodeName}"); to == from.Name {
		t.Errorf("the pod is on %s, which was drained", to)
	}
	if got := read(e, "deployment/app"); got != sum {
		t.Errorf("on the other node the file is %s, not %s", got, sum)
	}
	took := from.Eventually(clusterenv.Limit, "nothing of the volume", func() bool { return len(from.Volumes()) == 0 })
	t.Logf("the pod ran on the other node; %.1f s later nothing was left on the drained one", took.Seconds())
	e.Kubectl("delete", "--timeout="+clusterenv.Limit.String(), "deployment,poddisruptionbudget", "app")
	e.Kubectl("wait", "--for=delete", "pod", "--selector", "app=app", "--timeout="+clusterenv.Limit.String())
	e.Delete("persistentvolumeclaim/data")
}
