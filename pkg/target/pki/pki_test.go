package pki

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

func options(t *testing.T) Options {
	t.Helper()
	return Options{
		Dir: filepath.Join(t.TempDir(), "pki"), SANs: []string{"storage-1.example", "127.0.0.1", "fd00::1"}, Days: 30,
		SecretName: "portbind-targetd-client", SecretNamespace: "portbind", Now: time.Now(),
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pair(t *testing.T, o Options, cert, key string) tls.Certificate {
	t.Helper()
	p, err := tls.LoadX509KeyPair(filepath.Join(o.Dir, cert), filepath.Join(o.Dir, key))
	ok(t, err)
	return p
}

func roots(t *testing.T, o Options) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(o.Dir, CACert))
	ok(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatal("no CA")
	}
	return pool
}

// handshake connects a client of that name with the server.
func handshake(t *testing.T, o Options, client tls.Certificate, name string) error {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	server := tls.Server(far, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair(t, o, ServerCert, ServerKey)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots(t, o),
	})
	result := make(chan error, 1)
	go func() {
		_, err := io.WriteString(server, "hello")
		_ = far.Close()
		result <- err
	}()
	c := tls.Client(near, &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots(t, o), ServerName: name, Certificates: []tls.Certificate{client},
	})
	_, err := io.ReadFull(c, make([]byte, 5))
	_ = near.Close()
	if serverErr := <-result; err == nil {
		err = serverErr
	}
	return err
}

func TestHandshake(t *testing.T) {
	o := options(t)
	ok(t, Init(o))
	client := pair(t, o, ClientCert, ClientKey)
	for _, name := range []string{"storage-1.example", "127.0.0.1", "fd00::1"} {
		if err := handshake(t, o, client, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := handshake(t, o, client, "other.example"); err == nil {
		t.Error("the server may call itself anything")
	}
	if err := handshake(t, o, pair(t, o, ServerCert, ServerKey), "127.0.0.1"); err == nil {
		t.Error("a server's certificate is taken for a client's")
	}
	stranger := options(t)
	ok(t, Init(stranger))
	if err := handshake(t, o, pair(t, stranger, ClientCert, ClientKey), "127.0.0.1"); err == nil {
		t.Error("another CA's client is let in")
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	o := options(t)
	ok(t, Init(o))
	before, err := os.ReadFile(filepath.Join(o.Dir, CAKey))
	ok(t, err)
	ok(t, os.Remove(filepath.Join(o.Dir, CACert)))
	if err := Init(o); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("got %v", err)
	}
	after, err := os.ReadFile(filepath.Join(o.Dir, CAKey))
	ok(t, err)
	if !slices.Equal(before, after) {
		t.Error("the CA's key was overwritten")
	}
}

func TestRenew(t *testing.T) {
	o := options(t)
	ok(t, Init(o))
	before, err := readCert(filepath.Join(o.Dir, ServerCert))
	ok(t, err)
	again := o
	again.SANs, again.Days = nil, 60
	ok(t, RenewServer(again))
	after, err := readCert(filepath.Join(o.Dir, ServerCert))
	ok(t, err)
	if !slices.Equal(before.DNSNames, after.DNSNames) || len(after.IPAddresses) != 2 || !after.NotAfter.After(before.NotAfter) {
		t.Errorf("renewed: %v %v until %v", after.DNSNames, after.IPAddresses, after.NotAfter)
	}
	ok(t, RenewClient(again))
	ok(t, handshake(t, o, pair(t, o, ClientCert, ClientKey), "127.0.0.1"))
	late := again
	late.Now = late.Now.Add(caDays*day - 30*day)
	if err := RenewClient(late); err == nil || !strings.Contains(err.Error(), "CA ends") {
		t.Errorf("got %v", err)
	}
}

func TestModesAndSecret(t *testing.T) {
	o := options(t)
	ok(t, Init(o))
	entries, err := os.ReadDir(o.Dir)
	ok(t, err)
	if len(entries) != 7 {
		t.Errorf("files: %v", entries)
	}
	for _, e := range entries {
		info, err := e.Info()
		ok(t, err)
		if public := strings.HasSuffix(e.Name(), ".crt"); !public && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	text, err := os.ReadFile(filepath.Join(o.Dir, SecretFile))
	ok(t, err)
	var secret struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Type       string            `json:"type"`
		Metadata   map[string]string `json:"metadata"`
		StringData map[string]string `json:"stringData"`
	}
	ok(t, yaml.UnmarshalStrict(text, &secret))
	if secret.Kind != "Secret" || secret.Metadata["namespace"] != "portbind" || len(secret.StringData) != 3 {
		t.Errorf("secret: %+v", secret.Metadata)
	}
	if _, err := tls.X509KeyPair([]byte(secret.StringData["tls.crt"]), []byte(secret.StringData["tls.key"])); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"san":     func(o *Options) { o.SANs = nil },
		"days":    func(o *Options) { o.Days = 0 },
		"secret":  func(o *Options) { o.SecretName = "a\nb" },
		"neither": func(o *Options) { o.SANs = []string{"-x/../y"} },
	} {
		o := options(t)
		change(&o)
		if err := Init(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := os.Stat(o.Dir); err == nil {
			t.Errorf("%s: something was made", name)
		}
	}
}
