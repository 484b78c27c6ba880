//go:build lab

package labenv

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Volume capabilities for the usual cases.
var (
	MountExt4  = mount("ext4")
	MountXFS   = mount("xfs")
	MountBtrfs = mount("btrfs")
	Block      = &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}, AccessMode: singleWriter,
	}
	singleWriter = &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}
)

func mount(fsType string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}}, AccessMode: singleWriter,
	}
}

// Capabilities makes a list of one.
func Capabilities(c *csi.VolumeCapability) []*csi.VolumeCapability { return []*csi.VolumeCapability{c} }

// StackOptions says what NewStack builds. The zero value is all defaults.
type StackOptions struct {
	Net       Options
	Target    TargetOptions
	Initiator InitiatorOptions
	Node      NodeOptions
}

// Stack is everything that a volume's life needs, running: one target host, one controller, one node.
type Stack struct {
	*Env
	Target     *Target
	Initiator  *Initiator
	Controller *Plugin
	Node       *Plugin
	NodeID     string
	Topology   *csi.Topology // of the node
	mkdir      func(string) error
}

// NewStack starts it all. At cleanup it is undone in reverse, whatever the test left.
func NewStack(t *testing.T, o StackOptions) *Stack {
	t.Helper()
	Require(t, ISCSI, LIO, DMMultipath, DMThin)
	e := New(t, o.Net)
	s := &Stack{Env: e, Target: e.Target(o.Target), mkdir: func(dir string) error { return os.MkdirAll(dir, 0o750) }}
	s.Initiator = e.StartInitiator(o.Initiator)
	s.Controller, s.Node = e.Controller(s.Target), e.Node(o.Node)
	ctx, cancel := e.Context(time.Minute)
	defer cancel()
	info, err := s.Node.Node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	e.must(err)
	s.NodeID, s.Topology = info.GetNodeId(), info.GetAccessibleTopology()
	return s
}

// Context ends after the time limit, as Kubernetes' callers have one.
func (e *Env) Context(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

// Volume is one volume on its way through the stack; the calls of its life are its methods. The requests are there to
// be changed or repeated by tests.
type Volume struct {
	*csi.Volume
	Cap            *csi.VolumeCapability
	PublishContext map[string]string
	StagingPath    string
	TargetPath     string
	Secrets        map[string]string // of node stage and controller publish
	s              *Stack
}

// CreateRequest is a request for a volume with the network's interfaces, unless params says otherwise.
func (s *Stack) CreateRequest(name string, size int64, c *csi.VolumeCapability, params map[string]string) *csi.CreateVolumeRequest {
	p := map[string]string{"interfaces": strings.Join(s.InterfaceNames(), ",")}
	maps.Copy(p, params)
	return &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: size}, VolumeCapabilities: Capabilities(c), Parameters: p,
	}
}

// Create creates a volume of a size in bytes; failure fails the test. Its paths on the node are kubelet's.
func (s *Stack) Create(name string, size int64, c *csi.VolumeCapability, params map[string]string) *Volume {
	s.T.Helper()
	return s.CreateFrom(s.CreateRequest(name, size, c, params))
}

// CreateFrom is Create with a request of the test's own: with a source, for example.
func (s *Stack) CreateFrom(req *csi.CreateVolumeRequest) *Volume {
	s.T.Helper()
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	resp, err := s.Controller.Controller.CreateVolume(ctx, req)
	s.must(err)
	return s.Adopt(resp.GetVolume(), req.GetVolumeCapabilities()[0])
}

// Adopt makes a Volume of one that exists, such as a static one.
func (s *Stack) Adopt(v *csi.Volume, c *csi.VolumeCapability) *Volume {
	name := strings.NewReplacer("/", "-", ":", "-").Replace(v.GetVolumeId())
	kubelet := "/var/lib/kubelet"
	return &Volume{
		Volume: v, Cap: c, s: s,
		StagingPath: filepath.Join(kubelet, "plugins/kubernetes.io/csi/iscsi.portbind.io", name, "globalmount"),
		TargetPath:  filepath.Join(kubelet, "pods/lab/volumes/kubernetes.io~csi", name, "mount"),
	}
}

// StageRequest is the request of Stage.
func (v *Volume) StageRequest() *csi.NodeStageVolumeRequest {
	return &csi.NodeStageVolumeRequest{
		VolumeId: v.VolumeId, PublishContext: v.PublishContext, StagingTargetPath: v.StagingPath, VolumeCapability: v.Cap,
		VolumeContext: v.VolumeContext, Secrets: v.Secrets,
	}
}

// PublishRequest is the request of Publish.
func (v *Volume) PublishRequest() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: v.VolumeId, PublishContext: v.PublishContext, StagingTargetPath: v.StagingPath, TargetPath: v.TargetPath,
		VolumeCapability: v.Cap, VolumeContext: v.VolumeContext,
	}
}

// ControllerPublish maps the volume to the node.
func (v *Volume) ControllerPublish(ctx context.Context) error {
	resp, err := v.s.Controller.Controller.ControllerPublishVolume(ctx, &csi.ControllerPublishVolumeRequest{
		VolumeId: v.VolumeId, NodeId: v.s.NodeID, VolumeCapability: v.Cap, VolumeContext: v.VolumeContext, Secrets: v.Secrets,
	})
	v.PublishContext = resp.GetPublishContext()
	return err
}

// Stage attaches and mounts the volume at its staging path, which the caller makes (CSI, NodeStageVolume).
func (v *Volume) Stage(ctx context.Context) error {
	v.s.must(v.s.mkdir(v.StagingPath))
	_, err := v.s.Node.Node.NodeStageVolume(ctx, v.StageRequest())
	return err
}

// Publish mounts it at its target path, whose parent directory the caller makes (CSI, NodePublishVolume).
func (v *Volume) Publish(ctx context.Context) error {
	v.s.must(v.s.mkdir(filepath.Dir(v.TargetPath)))
	_, err := v.s.Node.Node.NodePublishVolume(ctx, v.PublishRequest())
	return err
}

// Unpublish undoes Publish.
func (v *Volume) Unpublish(ctx context.Context) error {
	_, err := v.s.Node.Node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.VolumeId, TargetPath: v.TargetPath})
	return err
}

// Unstage undoes Stage.
func (v *Volume) Unstage(ctx context.Context) error {
	_, err := v.s.Node.Node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.VolumeId, StagingTargetPath: v.StagingPath})
	return err
}

// ControllerUnpublish undoes ControllerPublish.
func (v *Volume) ControllerUnpublish(ctx context.Context) error {
	_, err := v.s.Controller.Controller.ControllerUnpublishVolume(ctx, &csi.ControllerUnpublishVolumeRequest{
		VolumeId: v.VolumeId, NodeId: v.s.NodeID, Secrets: v.Secrets,
	})
	return err
}

// Delete deletes the volume.
func (v *Volume) Delete(ctx context.Context) error {
	_, err := v.s.Controller.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.VolumeId})
	return err
}

// Up takes the volume from created to usable at its target path; failure fails the test.
func (v *Volume) Up() { v.s.T.Helper(); v.all("up", v.ControllerPublish, v.Stage, v.Publish) }

// Down takes it back and deletes it; failure fails the test.
func (v *Volume) Down() {
	v.s.T.Helper()
	v.all("down", v.Unpublish, v.Unstage, v.ControllerUnpublish, v.Delete)
}

func (v *Volume) all(what string, steps ...func(context.Context) error) {
	v.s.T.Helper()
	ctx, cancel := v.s.Context(2 * time.Minute)
	defer cancel()
	for i, step := range steps {
		if err := step(ctx); err != nil {
			v.s.must(fmt.Errorf("%s, step %d: %w", what, i+1, err))
		}
	}
}

// WWID is the volume's as sysfs has it: naa.6...
func (v *Volume) WWID() string { return v.VolumeContext["wwid"] }

// Map is the name of the volume's multipath device: the WWID as multipathd writes it, 36...
func (v *Volume) Map() string { return "3" + strings.TrimPrefix(v.WWID(), "naa.") }
