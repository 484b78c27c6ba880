package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/target/pki"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// certificates makes a PKI for 127.0.0.1.
func certificates(t *testing.T) pki.Options {
	t.Helper()
	o := pki.Options{
		Dir: filepath.Join(t.TempDir(), "pki"), SANs: []string{"127.0.0.1"}, Days: 1, SecretName: "s", SecretNamespace: "n", Now: time.Now(),
	}
	if err := pki.Init(o); err != nil {
		t.Fatal(err)
	}
	return o
}

func files(o pki.Options) TLSFiles {
	return TLSFiles{
		CA: filepath.Join(o.Dir, pki.CACert), Cert: filepath.Join(o.Dir, pki.ServerCert), Key: filepath.Join(o.Dir, pki.ServerKey),
	}
}

// clientTLS is a client's configuration with the certificate of o's, or none.
func clientTLS(t *testing.T, o pki.Options, with bool) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(o.Dir, pki.CACert))
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	c.RootCAs.AppendCertsFromPEM(ca)
	if with {
		pair, err := tls.LoadX509KeyPair(filepath.Join(o.Dir, pki.ClientCert), filepath.Join(o.Dir, pki.ClientKey))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// serve runs the rig's server on the loopback until the test ends, and gives its address.
func (r *rig) serve(f TLSFiles, reg *prometheus.Registry) string {
	r.t.Helper()
	config, err := f.Config()
	if err != nil {
		r.t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := r.NewMetrics(r.t.Context(), reg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, listener, config, m) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return listener.Addr().String()
}

func info(t *testing.T, addr string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = targetv1.NewTargetClient(conn).GetInfo(ctx, &targetv1.GetInfoRequest{})
	return err
}

func TestOnlyClientsOfTheCA(t *testing.T) {
	r := newRig(t)
	o, stranger := certificates(t), certificates(t)
	reg := prometheus.NewRegistry()
	addr := r.serve(files(o), reg)
	if err := info(t, addr, credentials.NewTLS(clientTLS(t, o, true))); err != nil {
		t.Errorf("our client: %v", err)
	}
	foreign := clientTLS(t, stranger, true)
	foreign.RootCAs = clientTLS(t, o, false).RootCAs
	old := clientTLS(t, o, true)
	old.MaxVersion = tls.VersionTLS12
	for what, creds := range map[string]credentials.TransportCredentials{
		"no certificate":      credentials.NewTLS(clientTLS(t, o, false)),
		"another CA's client": credentials.NewTLS(foreign),
		"TLS 1.2":             credentials.NewTLS(old),
		"no TLS":              insecure.NewCredentials(),
	} {
		if err := info(t, addr, creds); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: got %v", what, err)
		}
	}
	n, err := testutil.GatherAndCount(reg, "portbind_targetd_call_duration_seconds", "portbind_targetd_pool_free_bytes", "portbind_targetd_luns")
	if err != nil || n != 4 {
		t.Errorf("%d metrics, %v", n, err)
	}
}

// TestRenewedCertificate: new files are used by the next connection; broken ones leave the old in use.
func TestRenewedCertificate(t *testing.T) {
	o := certificates(t)
	r := &reloader{files: files(o)}
	first, err := r.current()
	if err != nil {
		t.Fatal(err)
	}
	if same, err := r.current(); err != nil || same != first {
		t.Errorf("read again without a change: %v", err)
	}
	if err := pki.RenewServer(o); err != nil {
		t.Fatal(err)
	}
	// Time stamps of files are as coarse as the kernel's tick.
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(r.files.Cert, later, later); err != nil {
		t.Fatal(err)
	}
	second, err := r.current()
	if err != nil || second == first {
		t.Errorf("not read again: %v", err)
	}
	if err := os.WriteFile(r.files.Key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(r.files.Key, later.Add(time.Second), later.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if still, err := r.current(); err != nil || still != second {
		t.Errorf("broken files: %v", err)
	}
	if err := os.Remove(r.files.CA); err != nil {
		t.Fatal(err)
	}
	if _, err := r.files.Config(); err == nil {
		t.Error("begun without a CA")
	}
}
