package lio

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/backend"
	"github.com/portbind/portbind/pkg/backend/backendtest"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// serveOn serves s with TLS and gives the endpoint and a way to stop it.
func serveOn(t *testing.T, s targetv1.TargetServer, cfg *tls.Config, address string) (endpoint string, stop func()) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)))
	targetv1.RegisterTargetServer(g, s)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	return listener.Addr().String(), g.Stop
}

func connect(t *testing.T, endpoint string, files TLS) *Backend {
	t.Helper()
	b, err := New(Config{Endpoint: endpoint, TLS: files})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backendtest.Fixture {
		t.Helper()
		ca := newAuthority(t, "ca")
		endpoint, _ := serveOn(t, newServer(), ca.serverTLS(t, "target"), "127.0.0.1:0")
		return backendtest.Fixture{
			Backend: connect(t, endpoint, write(t, t.TempDir(), ca, ca)), Pool: "fast", OtherPool: "slow",
			CHAP: &backend.CHAP{User: "u", Secret: "s"},
		}
	})
}

func TestPublishSendsCHAP(t *testing.T) {
	t.Parallel()
	ca, s := newAuthority(t, "ca"), newServer()
	endpoint, _ := serveOn(t, s, ca.serverTLS(t, "target"), "127.0.0.1:0")
	b := connect(t, endpoint, write(t, t.TempDir(), ca, ca))
	_, err := b.Publish(t.Context(), backend.Publish{
		Initiator: "iqn.2026-11.io.example:a", CHAP: &backend.CHAP{User: "u", Secret: "s", TargetUser: "tu", TargetSecret: "ts"},
	})
	if !errors.Is(err, backend.ErrNotFound) {
		t.Fatalf("Publish: %v, want the volume not found", err)
	}
	c := <-s.chap
	if c.GetUser() != "u" || c.GetSecret() != "s" || c.GetTargetUser() != "tu" || c.GetTargetSecret() != "ts" {
		t.Error("the credentials arrived changed")
	}
}

func TestTargetIsAskedOncePerConnection(t *testing.T) {
	t.Parallel()
	ca, s := newAuthority(t, "ca"), newServer()
	endpoint, stop := serveOn(t, s, ca.serverTLS(t, "target"), "127.0.0.1:0")
	b := connect(t, endpoint, write(t, t.TempDir(), ca, ca))
	for range 3 {
		if target, err := b.Target(t.Context()); err != nil || len(target.Portals) != 2 {
			t.Fatalf("%+v, %v", target, err)
		}
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times over one connection", n)
	}
	stop()
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := b.Target(t.Context())
		if errors.Is(err, backend.ErrUnavailable) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("after the connection ended: %v, want an error that is %q", err, backend.ErrUnavailable)
		}
		runtime.Gosched()
	}
}

// flaky fails as a connection does whose other end has gone.
type flaky struct {
	*server

	failures atomic.Int32
}

func (f *flaky) GetInfo(ctx context.Context, req *targetv1.GetInfoRequest) (*targetv1.GetInfoResponse, error) {
	if f.failures.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "connection reset by peer")
	}
	return f.server.GetInfo(ctx, req)
}

func TestCallsSurviveALostConnection(t *testing.T) {
	t.Parallel()
	ca, s := newAuthority(t, "ca"), &flaky{server: newServer()}
	s.failures.Store(2)
	endpoint, _ := serveOn(t, s, ca.serverTLS(t, "target"), "127.0.0.1:0")
	b := connect(t, endpoint, write(t, t.TempDir(), ca, ca))
	if _, err := b.Target(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUntrusted(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t, "ca"), newAuthority(t, "stranger")
	endpoint, _ := serveOn(t, newServer(), ca.serverTLS(t, "target"), "127.0.0.1:0")
	otherName, _ := serveOn(t, newServer(), ca.serverTLS(t, "elsewhere"), "127.0.0.1:0")
	old := ca.serverTLS(t, "target")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	oldTLS, _ := serveOn(t, newServer(), old, "127.0.0.1:0")
	for name, c := range map[string]struct {
		endpoint string
		files    TLS
	}{
		"server of a strange CA": {endpoint, write(t, t.TempDir(), stranger, ca)},
		"client of a strange CA": {endpoint, write(t, t.TempDir(), ca, stranger)},
		"server of another name": {otherName, write(t, t.TempDir(), ca, ca)},
		"TLS 1.2":                {oldTLS, write(t, t.TempDir(), ca, ca)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := connect(t, c.endpoint, c.files).Target(t.Context())
			if !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("got %v, want an error that is %q", err, backend.ErrUnavailable)
			}
		})
	}
}

func TestCertificatesAreReloaded(t *testing.T) {
	t.Parallel()
	old, renewed, s, dir := newAuthority(t, "old"), newAuthority(t, "new"), newServer(), t.TempDir()
	endpoint, stop := serveOn(t, s, old.serverTLS(t, "target"), "127.0.0.1:0")
	b := connect(t, endpoint, write(t, dir, old, old))
	if _, err := b.Target(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	serveOn(t, s, renewed.serverTLS(t, "target"), endpoint)
	write(t, dir, renewed, renewed)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// One call may still meet the end of the old connection.
	_, err := b.client.GetInfo(ctx, &targetv1.GetInfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		_, err = b.client.GetInfo(ctx, &targetv1.GetInfoRequest{}, grpc.WaitForReady(true))
	}
	if err != nil {
		t.Errorf("after CA and certificates were renewed: %v", err)
	}
}

func TestNewShowsBadFiles(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "ca")
	good := write(t, t.TempDir(), ca, ca)
	for name, files := range map[string]TLS{
		"no CA":       {CA: filepath.Join(t.TempDir(), "none"), Cert: good.Cert, Key: good.Key},
		"CA is a key": {CA: good.Key, Cert: good.Cert, Key: good.Key},
		"no key":      {CA: good.CA, Cert: good.Cert, Key: good.CA},
	} {
		if _, err := New(Config{Endpoint: "127.0.0.1:1", TLS: files}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFromStatus(t *testing.T) {
	t.Parallel()
	for code, sentinel := range sentinels {
		err := fromStatus(t.Context(), status.Error(code, "the words of the target"))
		if !errors.Is(err, sentinel) || !strings.Contains(err.Error(), "the words of the target") {
			t.Errorf("%s became %v", code, err)
		}
		if _, is := status.FromError(err); is {
			t.Errorf("%s still carries a gRPC status", code)
		}
	}
	if fromStatus(t.Context(), nil) != nil {
		t.Error("success became an error")
	}
	for _, code := range []codes.Code{codes.Internal, codes.Unknown, codes.DataLoss} {
		err := fromStatus(t.Context(), status.Error(code, "x"))
		for _, s := range sentinels {
			if errors.Is(err, s) {
				t.Errorf("%s became %v", code, s)
			}
		}
	}
	if err := fromListStatus(t.Context(), status.Error(codes.Aborted, "x"), "token"); !errors.Is(err, backend.ErrPageToken) {
		t.Errorf("a refused token became %v", err)
	}
}
