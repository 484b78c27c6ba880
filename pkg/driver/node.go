package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/nodeid"
	"github.com/portbind/portbind/pkg/pokes"
	"github.com/portbind/portbind/pkg/staging"
)

// maxVolumes is what one target host gives to one initiator: LUNs 0 to 254.
const maxVolumes = 255

var (
	// errIncompatible is a volume that is staged or published already, otherwise than asked for.
	errIncompatible = errors.New("already there with other parameters")
	// errNotStaged is a call that needs NodeStageVolume first.
	errNotStaged = errors.New("volume is not staged here")
	// errUnknownVolume is a volume, or a path of it, that this node has never heard of.
	errUnknownVolume = errors.New("no such volume on this node")
	// errOneTarget is a second publication where the access mode allows one.
	errOneTarget = errors.New("access mode allows one target path")
	// errNotUndone is a stage that failed and has left something behind.
	errNotUndone = errors.New("what was begun is not undone yet")
	// errPublished is an unstage before the last unpublish.
	errPublished = errors.New("volume is still published")
)

// NodeRules are the codes of the errors that only the node service meets, for ServerConfig.Rules.
func NodeRules() []CodeRule {
	return []CodeRule{
		// Before all others: after ABORTED kubelet repeats the call, or unstages. After most codes it does neither.
		{errNotUndone, codes.Aborted},

		{errIncompatible, codes.AlreadyExists},
		{errNotStaged, codes.FailedPrecondition},
		{errUnknownVolume, codes.NotFound},
		{errOneTarget, codes.FailedPrecondition},
		{errPublished, codes.FailedPrecondition},
		{nodeid.ErrTaken, codes.FailedPrecondition},
		{nodeid.ErrUnknown, codes.Unavailable},

		{attach.ErrNotReady, codes.FailedPrecondition},
		{attach.ErrInvalid, codes.InvalidArgument},
		{attach.ErrAuth, codes.Unauthenticated},
		{binding.ErrMissing, codes.FailedPrecondition},
		{binding.ErrAmbiguous, codes.FailedPrecondition},
		{binding.ErrShared, codes.FailedPrecondition},
		{attach.ErrWWIDMismatch, codes.FailedPrecondition},
		{attach.ErrInUse, codes.FailedPrecondition},
		{attach.ErrForeign, codes.FailedPrecondition},
		{attach.ErrSizeMismatch, codes.Unavailable},
		{attach.ErrTooFewPaths, codes.Unavailable},
		{attach.ErrNotFound, codes.FailedPrecondition},

		{fsmount.ErrOption, codes.InvalidArgument},
		{fsmount.ErrNotBlank, codes.FailedPrecondition},
		{fsmount.ErrOtherFS, codes.FailedPrecondition},
		{fsmount.ErrInUse, codes.FailedPrecondition},
		{fsmount.ErrUnsupported, codes.FailedPrecondition},
		{fsmount.ErrTarget, codes.FailedPrecondition},
		{fsmount.ErrDamaged, codes.Internal},
		{staging.ErrCorrupt, codes.Internal},
	}
}

// Attacher makes a device of a LUN; *attach.Attacher does.
type Attacher interface {
	// Attach returns when the device has at least MinPaths paths, each of the right WWID. Again: what is there.
	Attach(ctx context.Context, spec attach.Spec) (attach.Device, error)
	// Detach takes the device of that WWID apart. None is success.
	Detach(ctx context.Context, wwid string) error
	// Resize makes the device as large as the target's volume.
	Resize(ctx context.Context, wwid string) (attach.Device, error)
	// Inspect describes the device: attach.ErrNotFound when there is none.
	Inspect(ctx context.Context, wwid string) (attach.Device, error)
	// InspectAll describes those of several devices that can be described, by WWID.
	InspectAll(ctx context.Context, wwids []string) (map[string]attach.Device, error)
	// FailIO ends the waiting of I/O for a device without any working path. With one it does nothing.
	FailIO(ctx context.Context, wwid string) error
	// VolumeAt gives the WWID of the device with these numbers, when it is one that Attach can have made.
	VolumeAt(major, minor uint32) (wwid string, ok bool)
	// Heal adds what the devices of these volumes lack, and says how many paths are lacking still.
	Heal(ctx context.Context, specs []attach.Spec) (lacks int, err error)
	// Portals gives those at which a target listens now.
	Portals(ctx context.Context, target string) ([]netip.AddrPort, error)
	// Vacate takes away what should not carry I/O any more; these are all volumes. attach.ErrStays: not yet.
	Vacate(ctx context.Context, specs []attach.Spec) error
	// Govern has the device, in use or not, be as the policy of latest's spec says. None, or attach.ErrNotFound of latest, is success.
	// It waits for other calls that work on the device; TryGovern leaves it to them then.
	Govern(ctx context.Context, wwid string, latest func() (attach.Spec, error)) error
	TryGovern(ctx context.Context, wwid string, latest func() (attach.Spec, error)) error
}

// FileSystems is what the node service needs of *fsmount.FS.
type FileSystems interface {
	Prepare(ctx context.Context, p fsmount.Prepare) (fsmount.Superblock, error)
	Recognize(device string) ([]fsmount.Superblock, error)
	Mount(ctx context.Context, m fsmount.Mount) error
	Unmount(path string) error
	At(path string) ([]fsmount.Point, error)
	Broken(p fsmount.Point, readOnly bool) error
	BindDir(source, target string, o fsmount.Options) error
	BindDevice(device, target string, major, minor uint32, readOnly bool) error
	IsDevice(path string, major, minor uint32) bool
	RemoveTarget(path string) error
	Grow(ctx context.Context, fsType, device, path string) error
	Usage(path string) (fsmount.Usage, error)
}

// NodeOptions is what the node service needs to know and have.
type NodeOptions struct {
	// Initiator is the IQN of this node's sessions, which is its CSI node id.
	Initiator string
	// BootID tells records of this boot from older ones: /proc/sys/kernel/random/boot_id.
	BootID string
	// Interfaces resolves the node's interfaces to NICs, as they are now.
	Interfaces func() (binding.Resolution, error)
	// Portals are those that the interfaces are to reach whatever volumes there are; there may be none.
	Portals []netip.AddrPort
	// Unique says whether Initiator may be announced: nodeid.ErrTaken, nodeid.ErrUnknown. nil: it may.
	Unique func(context.Context) error
	// Moved is told of each volume that was staged or unstaged, and must not wait. It may be nil.
	Moved   func()
	Attach  Attacher
	FS      FileSystems
	Records *staging.Store
}

// Node serves the CSI Node service. Calls for one volume must not overlap; Serve's interceptor sees to it.
type Node struct {
	csi.UnimplementedNodeServer

	cfg        NodeOptions
	began      time.Time
	healErrors prometheus.Counter
	// calls are those under way, by volume: what changes a record beside them must hold its volume's.
	calls *locks
	// incomplete is told of volumes that were attached without some of their paths.
	incomplete chan struct{}
	// moves are volumes that come and go.
	moves pokes.Pokes
}

var _ csi.NodeServer = (*Node)(nil)

// NewNode makes the service.
func NewNode(cfg NodeOptions) *Node {
	return &Node{
		cfg: cfg, began: time.Now(), calls: newLocks(), moves: pokes.New(movesQuiet), incomplete: make(chan struct{}, 1),
		healErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "portbind_heal_errors_total", Help: "Rounds of healing that ended with an error.",
		}),
	}
}

// move says that a volume has come or gone.
func (n *Node) move() {
	n.moves.Poke()
	if n.cfg.Moved != nil {
		n.cfg.Moved()
	}
}

// NodeGetCapabilities says what this service can do.
func (n *Node) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	resp := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.NodeServiceCapability_RPC_GET_STORAGE_HEALTH,
	} {
		resp.Capabilities = append(resp.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}},
		})
	}
	return resp, nil
}

// NodeGetInfo gives the node's id, which is what the storage knows it by, and which interfaces it has.
func (n *Node) NodeGetInfo(ctx context.Context, _ *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	if n.cfg.Unique != nil {
		if err := n.cfg.Unique(ctx); err != nil {
			return nil, err
		}
	}
	r, err := n.addressed(ctx)
	if err != nil {
		return nil, fmt.Errorf("look at the node's NICs: %w", err)
	}
	return &csi.NodeGetInfoResponse{
		NodeId: n.cfg.Initiator, MaxVolumesPerNode: maxVolumes,
		AccessibleTopology: &csi.Topology{Segments: segments(r)},
	}, nil
}

// explain adds what to install to an error about a program that is not there.
func explain(err error) error {
	if hint := hostexec.MissingHint(err); hint != "" {
		return fmt.Errorf("%w: %s: %w", attach.ErrNotReady, hint, err)
	}
	return err
}
