// Package driver holds the CSI services, and is the only place that knows csi.* types and gRPC codes of CSI. Its
// methods parse, call what is below and answer; errors come from below as sentinels and become codes in one table.
package driver

const (
	// Name is the driver's name in Kubernetes.
	Name = "iscsi.portbind.io"
	// TopologyPrefix begins the keys of this driver's topology segments.
	TopologyPrefix = "topology." + Name + "/"
)
