//go:build cluster

package workloads

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// Each pod writes its name on a volume that has none, and a line for each of its starts.
const statefulSet = `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  replicas: 3
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: web}}
      containers:
        - name: main
          image: busybox:lab
          imagePullPolicy: Never
          command: [/bin/sh, -ec, '[ -e /data/name ] || echo "$HOSTNAME" > /data/name; echo start >> /data/starts; sync; exec sleep infinity']
          volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {storageClassName: portbind, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

// The pods of a StatefulSet have volumes of their own, on two nodes, and have them again after they were scaled away.
func TestStatefulSet(t *testing.T) {
	e := clusterenv.Shared(t)
	e.Apply(statefulSet)
	scaled := func() { e.Kubectl("rollout", "status", "statefulset/web", "--timeout="+clusterenv.Limit.String()) }
	scaled()
	nodes := e.Kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}")
	if !strings.Contains(nodes, "node1") || !strings.Contains(nodes, "node2") {
		t.Errorf("the pods are on %s, not on both nodes", nodes)
	}
	e.Kubectl("scale", "statefulset/web", "--replicas=1")
	e.Kubectl("wait", "--for=delete", "pod/web-1", "pod/web-2", "--timeout="+clusterenv.Limit.String())
	if claims := strings.Fields(e.Kubectl("get", "persistentvolumeclaims", "-o", "name")); len(claims) != 3 {
		t.Errorf("scaled down, the claims are %v", claims)
	}
	e.Kubectl("scale", "statefulset/web", "--replicas=3")
	scaled()
	for i, starts := range []string{"1", "2", "2"} {
		pod := fmt.Sprintf("web-%d", i)
		if got, want := e.Sh(pod, "cat /data/name; wc -l < /data/starts"), pod+"\n"+starts; got != want {
			t.Errorf("%s finds %q, not %q", pod, got, want)
		}
	}
	e.Delete("statefulset/web")
	e.Kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout="+clusterenv.Limit.String())
	e.Kubectl("delete", "persistentvolumeclaims", "--all", "--timeout="+clusterenv.Limit.String())
}
