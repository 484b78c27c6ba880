package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/volume"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	info, err := h.GetPluginInfo(h.ctx(), &csi.GetPluginInfoRequest{})
	h.want(err, codes.OK, "GetPluginInfo")
	if info.GetName() != "iscsi.portbind.io" || info.GetVendorVersion() != "v1" {
		t.Errorf("info is %v", info)
	}
	caps, err := h.GetPluginCapabilities(h.ctx(), &csi.GetPluginCapabilitiesRequest{})
	h.want(err, codes.OK, "GetPluginCapabilities")
	want := []*csi.PluginCapability{
		{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{
			Type: csi.PluginCapability_Service_CONTROLLER_SERVICE,
		}}},
		{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{
			Type: csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS,
		}}},
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}
	if diff := cmp.Diff(want, caps.GetCapabilities(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

// TestLogsHoldNoSecrets logs everything there is to log.
func TestLogsHoldNoSecrets(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	secrets := map[string]string{
		"node.session.auth.username": "user-hunter2", "node.session.auth.password": "pass-hunter2",
		"node.session.auth.username_in": "userin-hunter2", "node.session.auth.password_in": "passin-hunter2",
	}
	create := createRequest("pvc-1")
	create.Secrets = secrets
	made, err := h.CreateVolume(h.ctx(), create)
	h.want(err, codes.OK, "create")
	publish := publishRequest(made.GetVolume(), nodeA)
	publish.Secrets = secrets
	resp, err := h.ControllerPublishVolume(h.ctx(), publish)
	h.want(err, codes.OK, "publish")
	for _, key := range []string{"node.session.auth.password", "unknown-key"} {
		bad := publishRequest(made.GetVolume(), nodeA)
		bad.Secrets = map[string]string{key: "bad-hunter2\n"}
		_, err = h.ControllerPublishVolume(h.ctx(), bad)
		h.want(err, codes.InvalidArgument, "publish with a bad secret")
	}
	for what, text := range map[string]string{
		"log": h.log.String(), "error": err.Error(), "contexts": fmt.Sprint(made, resp),
	} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s holds a secret:\n%s", what, text)
		}
	}
	for _, want := range []string{"ControllerPublishVolume", "stor1/fast/pvc-1", nodeA, "***stripped***", "Failed"} {
		if !strings.Contains(h.log.String(), want) {
			t.Errorf("the log does not hold %q:\n%s", want, h.log.String())
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	req := createRequest(strings.Repeat("x", 1<<20))
	_, err := h.CreateVolume(h.ctx(), req)
	h.want(err, codes.InvalidArgument, "1 MiB name")
	if n := len(h.log.String()); n > 64<<10 {
		t.Errorf("the log has %d bytes", n)
	}
}

// slowNode holds NodeStageVolume until it is let go.
type slowNode struct {
	csi.UnimplementedNodeServer

	entered, letGo chan struct{}
}

func (n *slowNode) NodeStageVolume(ctx context.Context, _ *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	n.entered <- struct{}{}
	select {
	case <-n.letGo:
		return &csi.NodeStageVolumeResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *slowNode) NodeGetVolumeStats(context.Context, *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	return &csi.NodeGetVolumeStatsResponse{}, nil
}

func TestOneCallPerVolume(t *testing.T) {
	t.Parallel()
	slow := &slowNode{entered: make(chan struct{}), letGo: make(chan struct{})}
	l := newLocks()
	stage := func(id string) error {
		_, err := withLocks(l)(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: id}, nil, func(ctx context.Context, req any) (any, error) {
			r, _ := req.(*csi.NodeStageVolumeRequest)
			return slow.NodeStageVolume(ctx, r)
		})
		return err
	}
	done := make(chan error)
	go func() { done <- stage("t/p/a") }()
	<-slow.entered
	if got := codeOf(stage("t/p/a"), commonRules); got != codes.Aborted {
		t.Errorf("a second call for the volume: %s, want ABORTED", got)
	}
	go func() { done <- stage("t/p/b") }()
	<-slow.entered // Another volume is not held up.
	for _, free := range []any{&csi.NodeGetVolumeStatsRequest{VolumeId: "t/p/a"}, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: "t/p/a"}} {
		if keys := lockKeys(free); len(keys) != 0 {
			t.Errorf("%T takes %q", free, keys)
		}
	}
	close(slow.letGo)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	go func() { done <- stage("t/p/a") }()
	<-slow.entered
	if err := <-done; err != nil {
		t.Errorf("after the first call ended: %v", err)
	}
	if len(l.held) != 0 {
		t.Errorf("still held: %v", l.held)
	}
}

func TestLockKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		req  any
		want []string
	}{
		{&csi.CreateVolumeRequest{Name: "n"}, []string{"volume name n"}},
		{&csi.CreateSnapshotRequest{Name: "n", SourceVolumeId: "v"}, []string{"snapshot name n", "volume v"}},
		{&csi.DeleteSnapshotRequest{SnapshotId: "s"}, []string{"snapshot s"}},
		{&csi.NodeUnpublishVolumeRequest{VolumeId: "v"}, []string{"volume v"}},
		{&csi.ControllerUnpublishVolumeRequest{VolumeId: "v"}, []string{"volume v"}},
		{&csi.DeleteVolumeRequest{}, nil},
	} {
		if diff := cmp.Diff(c.want, lockKeys(c.req)); diff != "" {
			t.Errorf("%T:\n%s", c.req, diff)
		}
	}
}

func TestCallMetrics(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.create("pvc-1")
	_, err := h.CreateVolume(h.ctx(), &csi.CreateVolumeRequest{})
	h.want(err, codes.InvalidArgument, "empty request")
	address := freeAddress(t)
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klog.Logger{}))
	done := make(chan error, 1)
	go func() { done <- ServeMetrics(ctx, address, h.registry) }()
	body := get(t, "http://"+address+"/metrics")
	for _, line := range []string{
		`portbind_csi_calls_total{code="OK",method="CreateVolume"} 1`,
		`portbind_csi_calls_total{code="InvalidArgument",method="CreateVolume"} 1`,
		`portbind_csi_call_duration_seconds_count{method="CreateVolume"} 2`,
		`portbind_csi_calls_in_flight{method="CreateVolume"} 0`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no %s in\n%s", line, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ServeMetrics: %v", err)
	}
	if err := ServeMetrics(t.Context(), "", h.registry); err != nil {
		t.Errorf("without an address: %v", err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// get fetches a page of a server that is about to start.
func get(t *testing.T, url string) string {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(10 * time.Second)
	for {
		resp, err := http.Get(url)
		if err == nil {
			body, err := io.ReadAll(resp.Body)
			if err := errors.Join(err, resp.Body.Close()); err != nil {
				t.Fatal(err)
			}
			return string(body)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-ticker.C
	}
}

func TestListen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "csi.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	l, err := listen(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	_ = l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "csi.sock", "unix://csi.sock", "tcp://0.0.0.0:1", "unix://" + file, "unix://" + dir + "/none/csi.sock"} {
		if l, err := listen(t.Context(), bad); err == nil {
			_ = l.Close()
			t.Errorf("listens on %q", bad)
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a file that is no socket was removed: %v", err)
	}
	cfg := ServerConfig{Endpoint: "bad", Registerer: prometheus.NewRegistry(), Identity: NewIdentity("", nil)}
	if err := Serve(t.Context(), cfg); err == nil {
		t.Error("Serve on a bad endpoint gives no error")
	}
}

func TestControllerConfig(t *testing.T) {
	t.Parallel()
	good := `
targets:
- name: stor1
  endpoint: stor1.example:9443
  tls: {ca: /etc/portbind/ca.crt, cert: /etc/portbind/tls.crt, key: /etc/portbind/tls.key, serverName: stor1}
- name: stor2
  endpoint: "[2001:db8::1]:9443"
  tls: {ca: /a, cert: /b, key: /c}
interfaces: [san-a, san-b]
`
	path := filepath.Join(t.TempDir(), "controller.yaml")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadControllerConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := ControllerConfig{Interfaces: []string{"san-a", "san-b"}, Targets: []TargetConfig{
		{Name: "stor1", Endpoint: "stor1.example:9443", TLS: TLSConfig{
			CA: "/etc/portbind/ca.crt", Cert: "/etc/portbind/tls.crt", Key: "/etc/portbind/tls.key", ServerName: "stor1",
		}},
		{Name: "stor2", Endpoint: "[2001:db8::1]:9443", TLS: TLSConfig{CA: "/a", Cert: "/b", Key: "/c"}},
	}}
	if diff := cmp.Diff(want, cfg); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := LoadControllerConfig(path + ".none"); err == nil {
		t.Error("a missing file gives no error")
	}
	for name, c := range map[string]struct{ old, new, word string }{
		"unknown key":     {"serverName", "servername2", "servername2"},
		"reserved name":   {"name: stor1", "name: static", "targets[0].name"},
		"bad name":        {"name: stor1", "name: Stor_1", "targets[0].name"},
		"twice":           {"name: stor1", "name: stor2", "targets[1].name"},
		"no port":         {"stor1.example:9443", "stor1.example", "targets[0].endpoint"},
		"bad port":        {"stor1.example:9443", "stor1.example:0", "targets[0].endpoint"},
		"relative path":   {"/etc/portbind/ca.crt", "ca.crt", "targets[0].tls.ca"},
		"no certificate":  {"cert: /b, ", "", "targets[1].tls.cert"},
		"bad interface":   {"san-b]", "San_B]", "interfaces[1]"},
		"no YAML":         {"targets:", "targets: [", ""},
		"another section": {"targets:", "target:", "target"},
	} {
		_, err := parseControllerConfig([]byte(strings.Replace(good, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: got %v, want an error that names %q", name, err, c.word)
		}
	}
	for _, names := range [][]string{{"static"}, {"a", "a"}, {"A"}} {
		var targets []Target
		for _, n := range names {
			targets = append(targets, Target{Name: n})
		}
		if _, err := NewController(targets, nil); err == nil {
			t.Errorf("targets %q are taken", names)
		}
	}
}

func TestErrorTextIsOneBoundedLine(t *testing.T) {
	t.Parallel()
	err := statusOf(fmt.Errorf("a\nb\xff %s: %w", strings.Repeat("é", 10_000), backend.ErrNotFound), commonRules)
	if text := err.Error(); len(text) > 1200 || strings.Contains(text, "\n") || !utf8.ValidString(text) {
		t.Errorf("error text of %d bytes: %.100q", len(text), text)
	}
	if statusOf(nil, nil) != nil {
		t.Error("success became an error")
	}
	var field error = volume.NewFieldError("f", "v", "a")
	if statusOf(statusOf(field, nil), commonRules).Error() != statusOf(field, nil).Error() {
		t.Error("a status is changed")
	}
}
