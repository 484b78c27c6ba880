package plane

import (
	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/machine"
)

const etcdURL = "http://127.0.0.1:2379"

func etcdFlags(l layout.Layout) []string {
	const peer = "http://127.0.0.1:2380"
	return []string{
		"--name=lab", "--data-dir=" + l.Run + "/etcd", "--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=lab=" + peer,
		"--unsafe-no-fsync", // it lives as long as the lab does
	}
}

func apiserverFlags(l layout.Layout) []string {
	return []string{
		"--etcd-servers=" + etcdURL, "--bind-address=0.0.0.0", "--secure-port=" + layout.APIPort,
		"--advertise-address=" + machine.Outside, "--endpoint-reconciler-type=lease",
		"--tls-cert-file=" + l.PKI("apiserver.crt"), "--tls-private-key-file=" + l.PKI("apiserver.key"),
		"--client-ca-file=" + l.PKI("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + l.PKI("sa.pub"), "--service-account-signing-key-file=" + l.PKI("sa.key"),
		"--kubelet-client-certificate=" + l.PKI("kubelet-client.crt"), "--kubelet-client-key=" + l.PKI("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + l.PKI("ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + l.PKI("front-proxy.crt"), "--proxy-client-key-file=" + l.PKI("front-proxy.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + layout.ServiceCIDR, "--allow-privileged=true",
	}
}

func controllerManagerFlags(l layout.Layout) []string {
	return append(clientFlags(l, "controller-manager"),
		"--use-service-account-credentials", "--service-account-private-key-file="+l.PKI("sa.key"), "--root-ca-file="+l.PKI("ca.crt"),
		"--cluster-signing-cert-file="+l.PKI("ca.crt"), "--cluster-signing-key-file="+l.PKI("ca.key"))
}

func schedulerFlags(l layout.Layout) []string { return clientFlags(l, "scheduler") }

func clientFlags(l layout.Layout, user string) []string {
	config := l.Kubeconfig(user)
	return []string{
		"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
		"--bind-address=127.0.0.1", "--leader-elect=false",
	}
}
