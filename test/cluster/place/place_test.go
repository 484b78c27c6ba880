//go:build cluster

package place

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// The cluster knows how much room there is, and a pod whose claim would not fit waits without a volume.
func TestCapacity(t *testing.T) {
	e := clusterenv.Shared(t)
	var list struct {
		Items []struct {
			StorageClassName  string
			MaximumVolumeSize string
			NodeTopology      struct{ MatchLabels map[string]string }
		}
	}
	if err := json.Unmarshal([]byte(e.Kubectl("get", "csistoragecapacities", "-n", "portbind", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, c := range list.Items {
		t.Logf("class %s, nodes with %v: %s", c.StorageClassName, c.NodeTopology.MatchLabels, c.MaximumVolumeSize)
		found = found || c.StorageClassName == "portbind" && strings.HasSuffix(c.MaximumVolumeSize, "Mi")
	}
	if !found {
		t.Error("nothing is known of the room for class portbind")
	}
	// The pool's disk has 32 GiB.
	e.Apply(clusterenv.Claim{Name: "large", Size: "40Gi"}.Manifest(), clusterenv.Pod{Name: "large", Claim: "large"}.Manifest(),
		clusterenv.Claim{Name: "small"}.Manifest(), clusterenv.Pod{Name: "small", Claim: "small"}.Manifest())
	e.Told("pod/large", "FailedScheduling", "did not have enough free storage")
	e.Ready("small")
	if got := e.Kubectl("get", "persistentvolumeclaim", "large", "-o", "jsonpath={.status.phase} {.spec.volumeName}"); got != "Pending " {
		t.Errorf("the claim that does not fit is %q", got)
	}
	e.Delete("pod/large", "pod/small")
	e.Delete("persistentvolumeclaim/large", "persistentvolumeclaim/small")
}

// A NIC on the same switch as the first one.
const thirdNIC = `
modprobe macvlan
ip link add san2 link san0 type macvlan mode bridge
sysctl -qw net.ipv4.conf.san2.rp_filter=2 net.ipv4.conf.san2.arp_ignore=1 net.ipv4.conf.san2.arp_announce=2
ip address add 10.99.0.29/24 dev san2
ip link set san2 up`

// A pod never lands on a node without its interfaces, however much it would like to.
func TestTopology(t *testing.T) {
	e := clusterenv.New(t)
	node := e.Node("node1")
	t.Cleanup(func() { _, _ = e.Try("label", "nodes", "--all", "topology.iscsi.portbind.io/san-c-") })
	release := e.Release()
	t.Cleanup(func() { _, _ = node.Try("ip", "link", "delete", "san2") })
	node.Run("sh", "-ec", thirdNIC)
	release.Install("interfaces[2].name=san-c", "interfaces[2].netdev=san2")
	e.Eventually(clusterenv.Limit, "node1 says that it has the interface", func() bool {
		return e.Kubectl("get", "nodes", "-l", "topology.iscsi.portbind.io/san-c=true", "-o", "name") == "node/node1\n"
	})
	late := e.Class("late", clusterenv.Class{Parameters: map[string]string{"interfaces": "san-c", "minPaths": "2"}})
	early := e.Class("early", clusterenv.Class{Parameters: map[string]string{"interfaces": "san-c,san-b"}, Immediate: true})
	const rather = `affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100, preference: {
    matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node2]}]}}]}}`
	e.Apply(clusterenv.Claim{Name: "late", Class: late}.Manifest(), clusterenv.Pod{Name: "late", Claim: "late", Spec: rather}.Manifest(),
		clusterenv.Claim{Name: "early", Class: early}.Manifest(), clusterenv.Pod{Name: "early", Claim: "early", Spec: rather}.Manifest(),
		clusterenv.Claim{Name: "never", Class: late}.Manifest(), clusterenv.Pod{Name: "never", Claim: "never", Node: "node2"}.Manifest(),
		clusterenv.Pod{Name: "nowhere", Claim: "early", Node: "node2"}.Manifest())
	e.Ready("late", "early")
	if nodes := e.Kubectl("get", "pods", "late", "early", "-o", "jsonpath={.items[*].spec.nodeName}"); nodes != "node1 node1" {
		t.Errorf("the pods are on %s", nodes)
	}
	nics := node.Run("sh", "-c", "sort /sys/class/iscsi_host/host*/netdev | uniq -c | tr -s ' \n' ' '")
	if got := strings.TrimSpace(nics); got != "2 san1 2 san2" {
		t.Errorf("the sessions are on %s", got)
	}
	e.Told("pod/never", "FailedScheduling", "did not have enough free storage")
	e.Told("pod/nowhere", "FailedScheduling", "PersistentVolume's node affinity")
	e.Delete("pod/late", "pod/early", "pod/never", "pod/nowhere")
	e.Delete("persistentvolumeclaim/late", "persistentvolumeclaim/early", "persistentvolumeclaim/never")
}
