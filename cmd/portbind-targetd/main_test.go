package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestVersion(t *testing.T) {
	if out, err := run(t, "version"); err != nil || strings.TrimSpace(out) != version {
		t.Errorf("%q, %v", out, err)
	}
}

func TestPKI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := run(t, "pki", "--dir", dir); err == nil {
		t.Error("made without a name")
	}
	out, err := run(t, "pki", "--dir", dir, "--san", "storage-1,10.0.0.1")
	if err != nil || !strings.Contains(out, "kubectl apply -f "+dir) {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := run(t, "pki", "--dir", dir, "--san", "storage-1"); err == nil {
		t.Error("overwritten")
	}
	for _, who := range []string{"server", "client"} {
		if _, err := run(t, "pki", "renew", who, "--dir", dir); err != nil {
			t.Error(err)
		}
	}
	if _, err := run(t, "pki", "renew", "ca", "--dir", dir); err == nil {
		t.Error("renewed a CA")
	}
}

func TestBadConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("iqn: x\nprotals: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"serve", "check"} {
		if _, err := run(t, verb, "--config", file); err == nil || !strings.Contains(err.Error(), "protals") {
			t.Errorf("%s: %v", verb, err)
		}
		if _, err := run(t, verb, "--config", file+".none"); err == nil {
			t.Errorf("%s without a file", verb)
		}
	}
}
