package driver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/volume"
)

// ControllerConfig is the configuration file of `portbind-csi controller`, YAML.
type ControllerConfig struct {
	// Targets are the storage hosts. None is allowed: static volumes need none.
	Targets []TargetConfig `json:"targets"`
	// Interfaces are the names that nodes have. Classes with another one are refused; none: they are not compared.
	Interfaces []string `json:"interfaces,omitempty"`
}

// TargetConfig says how to reach one storage host.
type TargetConfig struct {
	// Name is what StorageClasses and volume ids call it.
	Name string `json:"name"`
	// Endpoint is host:port of its portbind-targetd.
	Endpoint string    `json:"endpoint"`
	TLS      TLSConfig `json:"tls"`
}

// TLSConfig names PEM files: the CA of the target's certificate, and this client's certificate and key.
type TLSConfig struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
	// ServerName is the name in the target's certificate; empty: the host of the endpoint.
	ServerName string `json:"serverName,omitempty"`
}

// LoadControllerConfig reads and checks a configuration file. Unknown keys are errors.
func LoadControllerConfig(path string) (ControllerConfig, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ControllerConfig{}, fmt.Errorf("read the configuration: %w", err)
	}
	cfg, err := parseControllerConfig(raw)
	if err != nil {
		return ControllerConfig{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return cfg, nil
}

func parseControllerConfig(raw []byte) (ControllerConfig, error) {
	var cfg ControllerConfig
	if err := yaml.UnmarshalStrict(raw, &cfg); err != nil {
		return ControllerConfig{}, err
	}
	var names []string
	for i, t := range cfg.Targets {
		field := fmt.Sprintf("targets[%d]", i)
		if err := t.check(field); err != nil {
			return ControllerConfig{}, err
		}
		if slices.Contains(names, t.Name) {
			return ControllerConfig{}, volume.NewFieldError(field+".name", t.Name, "each name once")
		}
		names = append(names, t.Name)
	}
	for i, name := range cfg.Interfaces {
		if err := binding.CheckName(name); err != nil {
			return ControllerConfig{}, fmt.Errorf("interfaces[%d]: %w", i, err)
		}
	}
	return cfg, nil
}

func (t TargetConfig) check(field string) error {
	if err := volume.CheckTargetName(field+".name", t.Name); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(t.Endpoint)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
		return volume.NewFieldError(field+".endpoint", t.Endpoint, "host:port, IPv6 in brackets")
	}
	files := map[string]string{"ca": t.TLS.CA, "cert": t.TLS.Cert, "key": t.TLS.Key}
	for _, k := range []string{"ca", "cert", "key"} {
		if !filepath.IsAbs(files[k]) {
			return volume.NewFieldError(field+".tls."+k, files[k], "the absolute path of a PEM file")
		}
	}
	return nil
}
