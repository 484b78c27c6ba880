package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

const (
	// deadPeer is how soon a connection whose peer has vanished is closed.
	deadPeer = 30 * time.Second
	// pingLimit is how often a client may ask whether we are alive.
	pingLimit = 10 * time.Second
	// stopWait is how long calls and their work may go on after the daemon was told to stop. A fence that takes
	// longer is recorded and is taken up again at the next start.
	stopWait = 20 * time.Second
)

// Serve answers calls until ctx ends, then lets those under way finish.
func (s *Server) Serve(ctx context.Context, listener net.Listener, tlsConfig *tls.Config, m *Metrics) error {
	g := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(tlsConfig)),
		grpc.ChainUnaryInterceptor(logged(klog.FromContext(ctx)), m.observe, mapped, recovered),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: deadPeer, Timeout: deadPeer / 3}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingLimit, PermitWithoutStream: true}),
	)
	targetv1.RegisterTargetServer(g, s)
	failed := make(chan error, 1)
	go func() { failed <- g.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	return s.stop(context.WithoutCancel(ctx), g)
}

// stop ends the service. The kernel goes on serving I/O.
func (s *Server) stop(ctx context.Context, g *grpc.Server) error {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	go func() {
		<-ctx.Done()
		g.Stop()
	}()
	g.GracefulStop()
	return s.Drain(ctx)
}

// logged writes one line per call. Requests hold secrets: of them only what they are about is named.
func logged(log klog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		values := append([]any{"method", method(info)}, about(req)...)
		ctx = klog.NewContext(ctx, klog.LoggerWithValues(log, values...))
		start := time.Now()
		resp, err := next(ctx, req)
		values = []any{"code", status.Code(err).String(), "duration", time.Since(start).Round(time.Millisecond).String()}
		if p, ok := peer.FromContext(ctx); ok {
			values = append(values, "peer", p.Addr.String())
		}
		if err != nil {
			klog.FromContext(ctx).Info("Call failed", append(values, "reason", status.Convert(err).Message())...)
		} else {
			klog.FromContext(ctx).V(2).Info("Call served", values...)
		}
		return resp, err
	}
}

// about names a request's volume or snapshot and its initiator.
func about(req any) []any {
	var values []any
	switch r := req.(type) {
	case interface{ GetKey() *targetv1.VolumeKey }:
		values = append(values, "volume", r.GetKey().GetPool()+"/"+r.GetKey().GetName())
	case interface{ GetKey() *targetv1.SnapshotKey }:
		values = append(values, "snapshot", r.GetKey().GetPool()+"/"+r.GetKey().GetName())
	}
	if r, ok := req.(interface{ GetInitiator() string }); ok {
		values = append(values, "initiator", r.GetInitiator())
	}
	return values
}

// mapped gives every error its gRPC code.
func mapped(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	return resp, toStatus(err)
}

// recovered makes an error of a panic, so that one bad call does not take the others down.
func recovered(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			klog.FromContext(ctx).Error(nil, "Panic", "panic", p, "stack", string(debug.Stack()))
			err = status.Errorf(codes.Internal, "%s: internal error", method(info))
		}
	}()
	return next(ctx, req)
}

// method is the last part of /portbind.target.v1.Target/CreateVolume.
func method(info *grpc.UnaryServerInfo) string {
	for i := len(info.FullMethod) - 1; i >= 0; i-- {
		if info.FullMethod[i] == '/' {
			return info.FullMethod[i+1:]
		}
	}
	return info.FullMethod
}
