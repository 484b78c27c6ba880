package driver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/backend/static"
	"github.com/portbind/portbind/pkg/volume"
)

// Target is a backend with the name that StorageClasses and ids call it.
type Target struct {
	Name    string
	Backend backend.Backend
}

// Controller serves the CSI Controller service over the configured targets. It keeps no state: the targets have it all.
type Controller struct {
	csi.UnimplementedControllerServer

	targets []Target
	// interfaces are the names that nodes have, if known.
	interfaces []string
	// answered says that some target has answered since the start.
	answered atomic.Bool
}

var _ csi.ControllerServer = (*Controller)(nil)

// NewController makes the service. Names of targets must be valid and unique. With names of interfaces, those of a class must be
// among them.
func NewController(targets []Target, interfaces []string) (*Controller, error) {
	sorted := slices.SortedFunc(slices.Values(targets), func(a, b Target) int { return cmp.Compare(a.Name, b.Name) })
	for i, t := range sorted {
		if err := volume.CheckTargetName("target", t.Name); err != nil {
			return nil, err
		}
		if i > 0 && sorted[i-1].Name == t.Name {
			return nil, volume.NewFieldError("target", t.Name, "each name once")
		}
	}
	return &Controller{targets: sorted, interfaces: interfaces}, nil
}

// controllerCapabilities are what ControllerGetCapabilities claims.
var controllerCapabilities = []csi.ControllerServiceCapability_RPC_Type{
	csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
	csi.ControllerServiceCapability_RPC_PUBLISH_UNPUBLISH_VOLUME,
	csi.ControllerServiceCapability_RPC_PUBLISH_READONLY,
	csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
	csi.ControllerServiceCapability_RPC_LIST_VOLUMES_PUBLISHED_NODES,
	csi.ControllerServiceCapability_RPC_GET_VOLUME,
	csi.ControllerServiceCapability_RPC_GET_CAPACITY,
	csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
	csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
	csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
	csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
	csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	csi.ControllerServiceCapability_RPC_MODIFY_VOLUME,
	csi.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH,
	csi.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH,
}

// ControllerGetCapabilities says what this controller can do.
func (c *Controller) ControllerGetCapabilities(
	context.Context, *csi.ControllerGetCapabilitiesRequest,
) (*csi.ControllerGetCapabilitiesResponse, error) {
	resp := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range controllerCapabilities {
		resp.Capabilities = append(resp.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return resp, nil
}

// Ready is false until a target has answered once. Later a target that is down does not make the controller unready:
// a restart would not bring the target back, and the other targets are served. Why those that do not answer do not, the log says.
func (c *Controller) Ready(ctx context.Context) (bool, error) {
	if len(c.targets) == 0 || c.answered.Load() {
		return true, nil
	}
	for _, p := range c.probe(ctx, c.targets) {
		if p.err != nil {
			klog.FromContext(ctx).Error(p.err, "A target does not answer")
			continue
		}
		c.answered.Store(true)
	}
	return c.answered.Load(), nil
}

// backendOf finds the backend of a volume or snapshot.
func (c *Controller) backendOf(id volume.ID) (backend.Backend, error) {
	if id.IsStatic() {
		return static.Backend{}, nil
	}
	t, ok := c.target(id.Target)
	if !ok {
		return nil, fmt.Errorf("target %q: %w", id.Target, errNoTarget)
	}
	return t.Backend, nil
}

func (c *Controller) target(name string) (Target, bool) {
	for _, t := range c.targets {
		if t.Name == name {
			return t, true
		}
	}
	return Target{}, false
}

// keyOf is how the backend calls what id names.
func keyOf(id volume.ID) backend.Key { return backend.Key{Pool: id.Pool, Name: id.Name} }

// idOf is the id of what a target calls key.
func idOf(target string, key backend.Key) volume.ID {
	return volume.ID{Target: target, Pool: key.Pool, Name: key.Name}
}
