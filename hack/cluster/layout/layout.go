// Package layout says where everything of the cluster in the lab is, and which addresses it has.
package layout

import (
	"fmt"
	"net"
	"path/filepath"
)

// Layout is the directories. All of them have the same paths outside and in the guests.
type Layout struct {
	Root string // of the repository
	Kube string // Kubernetes' programs, made by hack/cluster/kube-build
	Run  string // this run's own, writable everywhere: certificates, logs, images
}

// Debian has containerd, runc, CNI plugins and busybox, unpacked from Debian's packages.
func (l Layout) Debian(path string) string {
	return filepath.Join(l.Root, ".cache/cluster/debian", path)
}

// Bin has the project's programs.
func (l Layout) Bin(name string) string { return filepath.Join(l.Root, "bin", name) }

// Program is one of Kubernetes' or a sidecar.
func (l Layout) Program(name string) string { return filepath.Join(l.Kube, name) }

// PKI is a certificate or key.
func (l Layout) PKI(name string) string { return filepath.Join(l.Run, "pki", name) }

// TargetPKI has what the target daemon and its clients identify themselves with.
func (l Layout) TargetPKI() string { return filepath.Join(l.Run, "pki-target") }

// Kubeconfig is a user's, for use among the guests.
func (l Layout) Kubeconfig(user string) string { return filepath.Join(l.Run, user+".kubeconfig") }

// Log is where a program's output goes.
func (l Layout) Log(name string) string { return filepath.Join(l.Run, name+".log") }

// Images has archives of container images, for each node to import.
func (l Layout) Images() string { return filepath.Join(l.Run, "images") }

// APISocket reaches the API server from outside of its network namespace.
func (l Layout) APISocket() string { return filepath.Join(l.Run, "api.sock") }

// The networks. Guests reach services and other nodes' pods by routes: there is no kube-proxy, and of all services only
// the API server's has an address that answers.
const (
	ServiceCIDR = "10.96.0.0/16"
	APIService  = "10.96.0.1"
	DNSService  = "10.96.0.10" // nobody is there: without it, kubelet complains about every pod
	APIPort     = "443"        // of the service and of the API server itself
	TargetAPI   = "9760"
)

// PodSubnet is what a node's pods have addresses of; nodes are counted as machines are.
func PodSubnet(index int) string { return fmt.Sprintf("10.244.%d.0/24", index) }

// NodeAddress is a machine's on the management network.
func NodeAddress(index int) string { return fmt.Sprintf("10.70.0.%d", 10+index) }

// TargetEndpoint is the target daemon's API.
func TargetEndpoint(addr string) string { return net.JoinHostPort(addr, TargetAPI) }

// LabSocket reaches the machines.
func LabSocket(l Layout) string { return filepath.Join(l.Run, "lab.sock") }

// Ready is there once the cluster works.
func Ready(l Layout) string { return filepath.Join(l.Run, "ready") }
