// Package pki makes the certificates of portbind-targetd and of its clients: one CA per storage host, or one for all.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The files in the directory.
const (
	CACert     = "ca.crt"
	CAKey      = "ca.key"
	ServerCert = "server.crt"
	ServerKey  = "server.key"
	ClientCert = "client.crt"
	ClientKey  = "client.key"
	SecretFile = "client-secret.yaml"

	// caDays is ten years: a CA is not renewed but replaced.
	caDays = 3650
	day    = 24 * time.Hour
	// skew allows clocks that are a little behind.
	skew = 5 * time.Minute
)

// Options say what to make.
type Options struct {
	// Dir is made when it is not there, for root only.
	Dir string
	// SANs are DNS names and IP addresses that clients reach the server at.
	SANs []string
	// Days is the validity of server and client certificates.
	Days int
	// SecretName and SecretNamespace are of the Kubernetes Secret.
	SecretName, SecretNamespace string
	// Now is the time that validity is counted from.
	Now time.Time
}

var (
	dnsForm = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	k8sForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)
)

func (o Options) check(server bool) error {
	if o.Days < 1 || o.Days > caDays {
		return fmt.Errorf("days: %d is not between 1 and %d", o.Days, caDays)
	}
	if server && len(o.SANs) == 0 {
		return errors.New("san: at least one DNS name or IP address that clients reach this host at is needed")
	}
	for _, san := range o.SANs {
		if net.ParseIP(san) == nil && (len(san) > 253 || !dnsForm.MatchString(san)) {
			return fmt.Errorf("san: %q is neither a DNS name nor an IP address", san)
		}
	}
	for _, name := range []string{o.SecretName, o.SecretNamespace} {
		if !k8sForm.MatchString(name) {
			return fmt.Errorf("secret: %q is not a Kubernetes name", name)
		}
	}
	return nil
}

// Init makes CA, server and client certificates, and the Secret. Nothing is overwritten: when one of the files is
// there already, none is made.
func Init(o Options) error {
	if err := o.check(true); err != nil {
		return err
	}
	if err := o.free(CACert, CAKey, ServerCert, ServerKey, ClientCert, ClientKey, SecretFile); err != nil {
		return err
	}
	ca, err := newCA(o.Now)
	if err != nil {
		return err
	}
	if err := o.write(files{CACert: ca.certPEM(), CAKey: ca.keyPEM}, create); err != nil {
		return err
	}
	return errors.Join(o.issueServer(ca, create), o.issueClient(ca, create))
}

// RenewServer makes a new server certificate with the CA in the directory, for the SANs of the old one unless others
// are given. The running daemon takes it up by itself.
func RenewServer(o Options) error {
	if len(o.SANs) == 0 {
		old, err := readCert(filepath.Join(o.Dir, ServerCert))
		if err != nil {
			return err
		}
		o.SANs = append(o.SANs, old.DNSNames...)
		for _, ip := range old.IPAddresses {
			o.SANs = append(o.SANs, ip.String())
		}
	}
	return o.renew(true, o.issueServer)
}

// RenewClient makes a new client certificate and Secret with the CA in the directory.
func RenewClient(o Options) error { return o.renew(false, o.issueClient) }

func (o Options) renew(server bool, issue func(*authority, mode) error) error {
	if err := o.check(server); err != nil {
		return err
	}
	ca, err := loadCA(o.Dir)
	if err != nil {
		return err
	}
	if ca.cert.NotAfter.Before(o.Now.Add(time.Duration(o.Days) * day)) {
		return fmt.Errorf("the CA ends on %s, before the new certificate would: choose fewer days, or make a new CA in another directory",
			ca.cert.NotAfter.Format(time.DateOnly))
	}
	return issue(ca, replace)
}

func (o Options) issueServer(ca *authority, m mode) error {
	template := o.template("portbind-targetd", x509.ExtKeyUsageServerAuth)
	for _, san := range o.SANs {
		if ip := net.ParseIP(san); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, san)
		}
	}
	cert, key, err := ca.issue(template)
	if err != nil {
		return err
	}
	return o.write(files{ServerCert: cert, ServerKey: key}, m)
}

func (o Options) issueClient(ca *authority, m mode) error {
	cert, key, err := ca.issue(o.template("portbind-csi", x509.ExtKeyUsageClientAuth))
	if err != nil {
		return err
	}
	secret, err := o.secret(ca.certPEM(), cert, key)
	if err != nil {
		return err
	}
	return o.write(files{ClientCert: cert, ClientKey: key, SecretFile: secret}, m)
}

func (o Options) template(name string, usage x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		NotBefore:   o.Now.Add(-skew),
		NotAfter:    o.Now.Add(time.Duration(o.Days) * day),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
}

// authority is a CA with its key.
type authority struct {
	cert   *x509.Certificate
	key    crypto.Signer
	keyPEM []byte
}

func (a *authority) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func newCA(now time.Time) (*authority, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "portbind-targetd CA"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(caDays * day),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
	}
	der, err := sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return &authority{cert: cert, key: key, keyPEM: keyPEM}, nil
}

func (a *authority) issue(template *x509.Certificate) (cert, key []byte, err error) {
	signer, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	der, err := sign(template, a.cert, signer, a.key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key, nil
}

func sign(template, parent *x509.Certificate, subject, issuer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, subject.Public(), issuer)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return der, nil
}

// newKey makes an ECDSA key: every TLS library takes P-256.
func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func loadCA(dir string) (*authority, error) {
	cert, err := readCert(filepath.Join(dir, CACert))
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, CAKey))
	if err != nil {
		return nil, fmt.Errorf("CA: %w", err)
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, fmt.Errorf("CA: no PEM block in %s", CAKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("CA: %s: %w", CAKey, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("CA: %s cannot sign", CAKey)
	}
	return &authority{cert: cert, key: signer, keyPEM: keyPEM}, nil
}

func readCert(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("certificate: no PEM block in %s", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", path, err)
	}
	return cert, nil
}

// secretHead explains the Secret to whoever opens it.
func secretHead(name string) string {
	return strings.ReplaceAll("# The client certificate of NAME for portbind-targetd. Apply it, then delete this file.\n", "NAME", name)
}
