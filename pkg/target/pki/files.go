package pki

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// files are contents by name.
type files map[string][]byte

// mode says what write does with files that are there.
type mode int

const (
	create mode = iota
	replace
)

// free says whether none of the files is there.
func (o Options) free(names ...string) error {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(o.Dir, name)); err == nil {
			return fmt.Errorf("%s is there already and is not overwritten: use pki renew, or another directory", filepath.Join(o.Dir, name))
		} else if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("look for files: %w", err)
		}
	}
	return nil
}

// write puts files into the directory, each whole or not at all, keys first: a certificate without its key is of no
// use to anybody.
func (o Options) write(contents files, m mode) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	for _, name := range []string{CAKey, CACert, ServerKey, ServerCert, ClientKey, ClientCert, SecretFile} {
		data, ok := contents[name]
		if !ok {
			continue
		}
		if err := writeFile(filepath.Join(o.Dir, name), data, m); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

func writeFile(path string, data []byte, m mode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, fileMode(path)); err != nil {
		return err
	}
	if m == replace {
		return os.Rename(tmp, path)
	}
	// A link fails when somebody else has made the file meanwhile.
	return errors.Join(os.Link(tmp, path), os.Remove(tmp))
}

// fileMode keeps what holds a key from everybody but root.
func fileMode(path string) os.FileMode {
	if strings.HasSuffix(path, ".crt") {
		return 0o644
	}
	return 0o600
}

// secret is the Kubernetes Secret that the CSI controller mounts.
func (o Options) secret(ca, cert, key []byte) ([]byte, error) {
	manifest := map[string]any{
		"apiVersion": "v1",
		"kind":       "Secret",
		"type":       "kubernetes.io/tls",
		"metadata":   map[string]string{"name": o.SecretName, "namespace": o.SecretNamespace},
		"stringData": map[string]string{"ca.crt": string(ca), "tls.crt": string(cert), "tls.key": string(key)},
	}
	text, err := yaml.Marshal(manifest)
	if err != nil {
		return nil, fmt.Errorf("make the Secret: %w", err)
	}
	var b bytes.Buffer
	b.WriteString(secretHead(o.SecretName))
	b.Write(text)
	return b.Bytes(), nil
}
