package lio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"google.golang.org/grpc/credentials"
)

// TLS names the files of a mutual TLS 1.3 connection, PEM.
type TLS struct {
	// CA signed the target's certificate; Cert and Key are this client's.
	CA, Cert, Key string
	// ServerName is the name that the target's certificate must have; empty: the host of the endpoint.
	ServerName string
}

// config reads the files.
func (t TLS) config() (*tls.Config, error) {
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("read the CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", t.CA)
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("read the client's certificate and key: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{cert},
	}, nil
}

// reloading are transport credentials that read their files for every connection: certificates are renewed in place.
type reloading struct {
	files TLS
}

// newCredentials checks that the files can be read now.
func newCredentials(files TLS) (credentials.TransportCredentials, error) {
	if _, err := files.config(); err != nil {
		return nil, err
	}
	return &reloading{files: files}, nil
}

// ClientHandshake does the handshake with the certificates as they are now.
func (r *reloading) ClientHandshake(
	ctx context.Context, authority string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	cfg, err := r.files.config()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake is not for a client.
func (*reloading) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are a client's")
}

// Info names the protocol.
func (*reloading) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone makes a copy.
func (r *reloading) Clone() credentials.TransportCredentials { c := *r; return &c }

// OverrideServerName is part of the interface; the name comes with the authority.
func (*reloading) OverrideServerName(string) error {
	return errors.New("the server's name is set by the configuration")
}
