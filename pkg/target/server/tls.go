package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLSFiles are PEM files. They are looked at on each handshake and read again when one has changed, so that
// certificates are renewed without a restart.
type TLSFiles struct {
	CA, Cert, Key string
}

// Config gives TLS 1.3 that demands a client certificate of the CA. It fails when the files cannot be used now;
// later, bad files leave the last good ones in use.
func (f TLSFiles) Config() (*tls.Config, error) {
	r := &reloader{files: f}
	if _, err := r.current(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return r.current()
		},
	}, nil
}

// reloader keeps the configuration of the files' last good state.
type reloader struct {
	files TLSFiles

	mu     sync.Mutex
	stamp  [3]time.Time
	config *tls.Config
}

func (r *reloader) current() (*tls.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stamp, err := r.files.stamp()
	if err == nil && r.config != nil && stamp == r.stamp {
		return r.config, nil
	}
	var config *tls.Config
	if err == nil {
		config, err = r.files.load()
	}
	if err != nil {
		if r.config != nil {
			// Half-replaced files: the next handshake looks again.
			return r.config, nil
		}
		return nil, err
	}
	r.config, r.stamp = config, stamp
	return config, nil
}

// stamp tells states of the files apart.
func (f TLSFiles) stamp() (stamp [3]time.Time, err error) {
	for i, path := range []string{f.CA, f.Cert, f.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return stamp, fmt.Errorf("TLS: %w", err)
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}

func (f TLSFiles) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s and key %s: %w", f.Cert, f.Key, err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("TLS: no certificate in " + f.CA)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		NextProtos:   []string{"h2"},
	}, nil
}
