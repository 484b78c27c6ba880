package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"testing"

	"github.com/portbind/portbind/hack/cluster/pki"
)

func TestIssue(t *testing.T) {
	a, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Issue("server", pkix.Name{CommonName: "server"}, "192.0.2.1", "server.example"); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(a.Path("server.crt"), a.Path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(a.Path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for host, ok := range map[string]bool{"192.0.2.1": true, "server.example": true, "other.example": false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots})
		if (err == nil) != ok {
			t.Errorf("as %s: %v", host, err)
		}
	}
}
