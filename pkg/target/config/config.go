// Package config is the configuration file of portbind-targetd.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// Config is the whole file. Unknown fields are errors.
type Config struct {
	// IQN is the name of this host's one target.
	IQN string `json:"iqn"`
	// Portals are the addresses that initiators reach it at: IP:port, IPv6 in brackets.
	Portals []string `json:"portals"`
	// Listen is the address of the API.
	Listen string `json:"listen"`
	// Health is the loopback address of /healthz, /readyz and /metrics.
	Health string `json:"health"`
	TLS    TLS    `json:"tls"`
	Pools  []Pool `json:"pools"`
	// CHAP is "required" or "optional".
	CHAP string `json:"chap"`
	// StateDir holds the export database.
	StateDir string `json:"stateDir"`

	portals []netip.AddrPort
}

// TLS names PEM files.
type TLS struct {
	CA   string `json:"ca"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Pool is one thin pool.
type Pool struct {
	Name     string `json:"name"`
	VG       string `json:"vg"`
	ThinPool string `json:"thinPool"`
	// Overcommit is how many times the pool's size all volumes together may have; 0 is no limit.
	Overcommit float64 `json:"overcommit"`
	// RefuseAbove says when nothing more is made.
	RefuseAbove Thresholds `json:"refuseAbove"`
	// WarnAbove says when volumes are reported as degraded because the pool is nearly full; not above RefuseAbove.
	WarnAbove Thresholds `json:"warnAbove"`
}

// Thresholds are used percents.
type Thresholds struct {
	Data     float64 `json:"data"`
	Metadata float64 `json:"metadata"`
}

// What a field has when it is left out.
const (
	DefaultListen   = ":9760"
	DefaultHealth   = "127.0.0.1:9761"
	DefaultStateDir = "/var/lib/portbind-targetd"
	DefaultData     = 95
	DefaultMetadata = 90

	DefaultWarnData     = 85
	DefaultWarnMetadata = 80

	defaultPKI = "/etc/portbind-targetd/pki"

	chapRequired = "required"
	chapOptional = "optional"
)

// Error says which field is wrong and what is allowed.
type Error struct {
	Field   string
	Problem string
}

// Error implements error.
func (e *Error) Error() string { return e.Field + ": " + e.Problem }

// Load reads and checks a file.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Parse reads and checks the YAML text. The errors of several fields are joined.
func Parse(data []byte) (*Config, error) {
	c := &Config{
		Listen: DefaultListen, Health: DefaultHealth, StateDir: DefaultStateDir, CHAP: chapRequired,
		TLS: TLS{CA: defaultPKI + "/ca.crt", Cert: defaultPKI + "/server.crt", Key: defaultPKI + "/server.key"},
	}
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return nil, err
	}
	for i := range c.Pools {
		c.Pools[i].setDefaults()
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func (p *Pool) setDefaults() {
	p.RefuseAbove.setDefaults(DefaultData, DefaultMetadata)
	p.WarnAbove.setDefaults(min(DefaultWarnData, p.RefuseAbove.Data), min(DefaultWarnMetadata, p.RefuseAbove.Metadata))
}

func (t *Thresholds) setDefaults(data, metadata float64) {
	if t.Data == 0 {
		t.Data = data
	}
	if t.Metadata == 0 {
		t.Metadata = metadata
	}
}

// CHAPRequired says whether initiators must have credentials.
func (c *Config) CHAPRequired() bool { return c.CHAP == chapRequired }

// PortalAddrs are the parsed portals.
func (c *Config) PortalAddrs() []netip.AddrPort { return c.portals }

var (
	iqnForm  = regexp.MustCompile(`^iqn\.[0-9]{4}-(0[1-9]|1[0-2])\.[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[a-z0-9.:-]+)?$`)
	nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
	// lvmForm is lvm(8)'s, VALID NAMES.
	lvmForm = regexp.MustCompile(`^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}$`)
)

// maxIQN is the limit of RFC 7143 in bytes.
const maxIQN = 223

func (c *Config) check() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &Error{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if len(c.IQN) > maxIQN || !iqnForm.MatchString(c.IQN) {
		bad("iqn", "%q is not an iSCSI name like iqn.2026-11.com.example:storage-1, lower case", c.IQN)
	}
	if c.CHAP != chapRequired && c.CHAP != chapOptional {
		bad("chap", "%q is neither required nor optional", c.CHAP)
	}
	c.checkAddresses(bad)
	for _, f := range []struct{ field, path string }{
		{"tls.ca", c.TLS.CA}, {"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key}, {"stateDir", c.StateDir},
	} {
		if !filepath.IsAbs(f.path) {
			bad(f.field, "%q is not an absolute path", f.path)
		}
	}
	c.checkPools(bad)
	return errors.Join(errs...)
}

func (c *Config) checkAddresses(bad func(field, format string, args ...any)) {
	if len(c.Portals) == 0 {
		bad("portals", "at least one IP:port is needed")
	}
	seen := map[netip.AddrPort]bool{}
	c.portals = nil
	for i, s := range c.Portals {
		field := fmt.Sprintf("portals[%d]", i)
		p, err := netip.ParseAddrPort(s)
		switch {
		case err != nil || p.Port() == 0:
			bad(field, "%q is not IP:port", s)
		case p.Addr().IsUnspecified() || p.Addr().IsMulticast() || p.Addr().Zone() != "":
			bad(field, "%q: hosts have to be told an address that they can reach", s)
		case seen[p]:
			bad(field, "%q is there twice", s)
		default:
			seen[p] = true
			c.portals = append(c.portals, p)
		}
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil || !validPort(port) {
		bad("listen", "%q is not host:port or :port", c.Listen)
	}
	if p, err := netip.ParseAddrPort(c.Health); err != nil || !p.Addr().IsLoopback() {
		bad("health", "%q is not a loopback IP:port, and this listener asks nobody who they are", c.Health)
	}
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func (c *Config) checkPools(bad func(field, format string, args ...any)) {
	if len(c.Pools) == 0 {
		bad("pools", "at least one is needed")
	}
	names, lvs := map[string]bool{}, map[string]bool{}
	for i, p := range c.Pools {
		field := fmt.Sprintf("pools[%d]", i)
		if !nameForm.MatchString(p.Name) {
			bad(field+".name", "%q is not 1 to 63 of [a-z0-9.-], first and last [a-z0-9]", p.Name)
		}
		if !validLVM(p.VG) {
			bad(field+".vg", "%q is not the name of a volume group", p.VG)
		}
		if !validLVM(p.ThinPool) {
			bad(field+".thinPool", "%q is not the name of a thin pool", p.ThinPool)
		}
		if names[p.Name] || lvs[p.VG+"/"+p.ThinPool] {
			bad(field, "name or thin pool is there twice")
		}
		names[p.Name], lvs[p.VG+"/"+p.ThinPool] = true, true
		if p.Overcommit < 0 {
			bad(field+".overcommit", "%g is below 0", p.Overcommit)
		}
		p.RefuseAbove.check(field+".refuseAbove", bad)
		p.WarnAbove.check(field+".warnAbove", bad)
		if p.WarnAbove.Data > p.RefuseAbove.Data || p.WarnAbove.Metadata > p.RefuseAbove.Metadata {
			bad(field+".warnAbove", "above refuseAbove (%g data, %g metadata)", p.RefuseAbove.Data, p.RefuseAbove.Metadata)
		}
	}
}

func (t Thresholds) check(field string, bad func(field, format string, args ...any)) {
	for _, p := range []struct {
		name  string
		value float64
	}{{"data", t.Data}, {"metadata", t.Metadata}} {
		if p.value <= 0 || p.value > 100 {
			bad(field+"."+p.name, "%g is not a percentage above 0 and up to 100", p.value)
		}
	}
}

func validLVM(name string) bool {
	return lvmForm.MatchString(name) && name != "." && name != ".." && !strings.HasPrefix(name, "-")
}
