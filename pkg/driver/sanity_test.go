package driver

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/backend/fake"
)

// TestSanity runs csi-sanity on the controller over a fake target with a node that only makes files. The run that
// counts is the one in test/lab/sanity; this one shows mistakes of the controller within seconds.
func TestSanity(t *testing.T) {
	node := &fakeNode{published: map[string]string{}}
	h := serveTargets(t, map[string]*fake.Backend{"stor1": newFake("1", map[string]int64{"fast": 1 << 50})}, node)
	gomega.RegisterFailHandler(ginkgo.Fail)
	for _, access := range []string{"mount", "block"} {
		cfg := sanity.NewTestConfig()
		cfg.Address = h.endpoint
		cfg.TestVolumeAccessType = access
		cfg.TestVolumeParameters = map[string]string{"interfaces": "san-a,san-b", "minPaths": "2"}
		cfg.TestVolumeMutableParameters = map[string]string{"pathSelector": "round-robin", "preferredInterface": "san-a"}
		cfg.TestVolumeSize, cfg.TestVolumeExpandSize, cfg.TestNodeVolumeAttachLimit = gib, 2*gib, true
		dir := t.TempDir()
		cfg.TargetPath, cfg.StagingPath = filepath.Join(dir, "target"), filepath.Join(dir, "staging")
		ginkgo.Describe(access, func() { sanity.GinkgoTest(&cfg) })
	}
	suite, reporter := ginkgo.GinkgoConfiguration()
	reporter.Succinct = true
	ginkgo.RunSpecs(t, "csi-sanity", suite, reporter)
}

// fakeNode is a node service without storage: what it publishes are empty directories and files.
type fakeNode struct {
	csi.UnimplementedNodeServer

	mu sync.Mutex
	// published gives the volume of each target path.
	published map[string]string
}

func (*fakeNode) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	resp := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME, csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		resp.Capabilities = append(resp.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}},
		})
	}
	return resp, nil
}

func (*fakeNode) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: nodeA, MaxVolumesPerNode: 255, AccessibleTopology: topology("san-a", "true")}, nil
}

// needs refuses empty fields.
func needs(fields ...string) error {
	if slices.Contains(fields, "") {
		return status.Error(codes.InvalidArgument, "a field is missing")
	}
	return nil
}

func (*fakeNode) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if r.GetVolumeCapability() == nil {
		return nil, needs("")
	}
	return &csi.NodeStageVolumeResponse{}, needs(r.GetVolumeId(), r.GetStagingTargetPath(), r.GetPublishContext()["lun"])
}

func (*fakeNode) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, needs(r.GetVolumeId(), r.GetStagingTargetPath())
}

func (n *fakeNode) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := needs(r.GetVolumeId(), r.GetTargetPath()); err != nil {
		return nil, err
	}
	if r.GetVolumeCapability() == nil {
		return nil, needs("")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for path, id := range n.published {
		if id == r.GetVolumeId() && path != r.GetTargetPath() && r.GetVolumeCapability().GetAccessMode().GetMode() == single {
			return nil, status.Error(codes.FailedPrecondition, "published elsewhere")
		}
	}
	n.published[r.GetTargetPath()] = r.GetVolumeId()
	if r.GetVolumeCapability().GetBlock() != nil {
		return &csi.NodePublishVolumeResponse{}, os.WriteFile(r.GetTargetPath(), nil, 0o600)
	}
	return &csi.NodePublishVolumeResponse{}, os.MkdirAll(r.GetTargetPath(), 0o700)
}

func (n *fakeNode) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := needs(r.GetVolumeId(), r.GetTargetPath()); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.published, r.GetTargetPath())
	return &csi.NodeUnpublishVolumeResponse{}, os.RemoveAll(r.GetTargetPath())
}

// at refuses what is not published.
func (n *fakeNode) at(volumeID, path string) error {
	if err := needs(volumeID, path); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.published[path] != volumeID {
		return status.Error(codes.NotFound, "not published")
	}
	return nil
}

func (n *fakeNode) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	usage := []*csi.VolumeUsage{{Total: 1, Unit: csi.VolumeUsage_BYTES}}
	return &csi.NodeGetVolumeStatsResponse{Usage: usage}, n.at(r.GetVolumeId(), r.GetVolumePath())
}

func (n *fakeNode) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	return &csi.NodeExpandVolumeResponse{CapacityBytes: r.GetCapacityRange().GetRequiredBytes()}, n.at(r.GetVolumeId(), r.GetVolumePath())
}
