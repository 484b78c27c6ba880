package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"
)

// graceful is how long calls that are under way may go on when the process is asked to end.
const graceful = 20 * time.Second

// ServerConfig says what one process serves.
type ServerConfig struct {
	// Endpoint is unix:///path/to/csi.sock.
	Endpoint string
	Identity csi.IdentityServer
	// Controller and Node are nil where the process does not serve them.
	Controller csi.ControllerServer
	Node       csi.NodeServer
	// Registerer takes the metrics of the calls.
	Registerer prometheus.Registerer
	// Rules give the codes of errors that only this process's services meet; they go before the common ones.
	Rules []CodeRule
}

// Serve answers CSI calls on the endpoint until ctx ends, and then lets calls under way finish for a while. Handlers
// return plain errors; interceptors log, count, lock one volume at a time and give the gRPC codes.
func Serve(ctx context.Context, cfg ServerConfig) error {
	server, err := newServer(ctx, cfg)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, cfg.Endpoint)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		shutdown(server)
	})
	klog.FromContext(ctx).Info("CSI is served", "endpoint", cfg.Endpoint)
	err = server.Serve(listener)
	if !stop() {
		<-done
		return nil
	}
	return fmt.Errorf("serve %s: %w", cfg.Endpoint, err)
}

func newServer(ctx context.Context, cfg ServerConfig) (*grpc.Server, error) {
	metrics, err := newCallMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	rules := slices.Concat(cfg.Rules, commonRules)
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(
		withLogger(klog.FromContext(ctx)), metrics.intercept, withLog, withCodes(rules), withRequired, withLocks(callsOf(cfg.Node)),
	))
	csi.RegisterIdentityServer(server, cfg.Identity)
	if cfg.Controller != nil {
		csi.RegisterControllerServer(server, cfg.Controller)
	}
	if cfg.Node != nil {
		csi.RegisterNodeServer(server, cfg.Node)
	}
	return server, nil
}

// callsOf are the locks of calls: those of our own node service, which works beside its calls as well.
func callsOf(node csi.NodeServer) *locks {
	if n, ok := node.(*Node); ok {
		return n.calls
	}
	return newLocks()
}

// withLogger hands the process's logger to the calls, whose contexts come from gRPC.
func withLogger(log klog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		return next(klog.NewContext(ctx, log), req)
	}
}

// shutdown waits for calls under way, but not for ever.
func shutdown(server *grpc.Server) {
	timer := time.AfterFunc(graceful, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}

// listen makes the socket, in place of one that a killed process left behind.
func listen(ctx context.Context, endpoint string) (net.Listener, error) {
	path, ok := strings.CutPrefix(endpoint, "unix://")
	if !ok || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("endpoint %q: want unix:///path/to/csi.sock", endpoint)
	}
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for CSI: %w", err)
	}
	return listener, nil
}

func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look for an old socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the old socket: %w", err)
	}
	return nil
}
