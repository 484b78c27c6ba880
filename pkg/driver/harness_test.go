package driver

import (
	"bytes"
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/portbind/portbind/pkg/backend/fake"
)

const (
	gib   = int64(1) << 30
	nodeA = "iqn.2026-11.io.portbind:node-a"
	nodeB = "iqn.2026-11.io.portbind:node-b"
)

// safeBuffer is a log that calls write to at the same time.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// harness is a driver that is served on a socket, over fake targets.
type harness struct {
	*testing.T
	csi.ControllerClient
	csi.IdentityClient

	endpoint string
	targets  map[string]*fake.Backend
	log      *safeBuffer
	registry *prometheus.Registry
}

func newFake(n string, pools map[string]int64) *fake.Backend {
	return fake.New("iqn.2026-11.io.portbind:target-"+n, []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:3260"), netip.MustParseAddrPort("192.0.2.2:3260"),
	}, pools)
}

// newHarness serves the targets: "stor1" with pools fast and slow, "stor2" with pool fast, larger.
func newHarness(t *testing.T) *harness {
	t.Helper()
	return serveTargets(t, map[string]*fake.Backend{
		"stor1": newFake("1", map[string]int64{"fast": 100 * gib, "slow": 200 * gib}),
		"stor2": newFake("2", map[string]int64{"fast": 300 * gib}),
	}, nil)
}

func serveTargets(t *testing.T, targets map[string]*fake.Backend, node csi.NodeServer) *harness {
	t.Helper()
	var list []Target
	for name, b := range targets {
		list = append(list, Target{Name: name, Backend: b})
	}
	controller, err := NewController(list, []string{"san-a", "san-b", "san-c"})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{
		T: t, targets: targets, log: &safeBuffer{}, registry: prometheus.NewRegistry(),
		endpoint: "unix://" + filepath.Join(t.TempDir(), "csi.sock"),
	}
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Verbosity(10), textlogger.Output(h.log)))
	h.serve(klog.NewContext(context.Background(), logger), ServerConfig{
		Endpoint: h.endpoint, Identity: NewIdentity("v1", controller.Ready), Controller: controller, Node: node, Registerer: h.registry,
	})
	conn, err := grpc.NewClient(h.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h.ControllerClient, h.IdentityClient = csi.NewControllerClient(conn), csi.NewIdentityClient(conn)
	return h
}

// serve runs the server until the test ends, and wants it to end well.
func (h *harness) serve(ctx context.Context, cfg ServerConfig) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, cfg) }()
	h.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.Errorf("Serve: %v", err)
		}
	})
}

func (h *harness) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	h.Cleanup(cancel)
	return ctx
}

func mountCap(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func blockCap(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const single = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER

// createRequest is a good request that a test may spoil.
func createRequest(name string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name:               name,
		VolumeCapabilities: []*csi.VolumeCapability{mountCap(single)},
		CapacityRange:      &csi.CapacityRange{RequiredBytes: gib},
		Parameters:         map[string]string{"target": "stor1", "pool": "fast", "interfaces": "san-a,san-b", "minPaths": "2"},
	}
}

func (h *harness) create(name string) *csi.Volume {
	h.Helper()
	resp, err := h.CreateVolume(h.ctx(), createRequest(name))
	if err != nil {
		h.Fatal(err)
	}
	return resp.GetVolume()
}

func publishRequest(v *csi.Volume, node string) *csi.ControllerPublishVolumeRequest {
	return &csi.ControllerPublishVolumeRequest{
		VolumeId: v.GetVolumeId(), VolumeContext: v.GetVolumeContext(), NodeId: node, VolumeCapability: mountCap(single),
	}
}

// want fails unless err has the code and its message all the words.
func (h *harness) want(err error, code codes.Code, what string, words ...string) {
	h.Helper()
	if status.Code(err) != code {
		h.Errorf("%s: got %v, want %s", what, err, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(status.Convert(err).Message(), w) {
			h.Errorf("%s: %q does not say %q", what, status.Convert(err).Message(), w)
		}
	}
}

// names are the volumes of all targets, as target/pool/name.
func (h *harness) names() (out []string) {
	h.Helper()
	for name, b := range h.targets {
		volumes, _, err := b.ListVolumes(h.ctx(), 0, "")
		if err != nil {
			h.Fatal(err)
		}
		for _, v := range volumes {
			out = append(out, idOf(name, v.Key).String())
		}
	}
	slices.Sort(out)
	return out
}
