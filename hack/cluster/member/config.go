package member

import (
	"fmt"

	"github.com/portbind/portbind/hack/cluster/layout"
)

const (
	containerdConfig = "/etc/containerd/lab.toml"
	kubeletConfig    = "/etc/kubernetes/kubelet.yaml"
	cniDir           = "/etc/cni/net.d"
	// PauseImage is what holds a pod's namespaces.
	PauseImage = "lab.local/pause:1"
)

// nodeFiles are a node's configuration files.
func (m *Member) nodeFiles() map[string]string {
	return map[string]string{
		// Debian's defaults (find_multipaths strict), but for a checker that looks more often, as docs/install.md has it.
		"/etc/multipath.conf":       "defaults {\n\tuser_friendly_names no\n\tpolling_interval 2\n}\n",
		cniDir + "/10-lab.conflist": m.cni(),
		containerdConfig:            m.containerdConfig(),
		kubeletConfig:               m.kubelet(),
	}
}

// cni is a bridge per node, reached by routes: no address translation.
func (m *Member) cni() string {
	return fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "lab", "plugins": [{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni"}
}]}
`, layout.PodSubnet(m.Index))
}

func (m *Member) containerdConfig() string {
	return fmt.Sprintf(`version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = %q
`, PauseImage, m.Layout.Debian("usr/lib/cni"), cniDir, m.Layout.Debian("usr/sbin/runc"))
}

func (m *Member) kubelet() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
address: %s
failSwapOn: false
resolvConf: ""
clusterDNS: [%s]
clusterDomain: cluster.local
tlsCertFile: %s
tlsPrivateKeyFile: %s
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %s}}
authorization: {mode: Webhook}
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
`, layout.NodeAddress(m.Index), layout.DNSService, m.Layout.PKI(m.Name+".crt"), m.Layout.PKI(m.Name+".key"), m.Layout.PKI("ca.crt"))
}
