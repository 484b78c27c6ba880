package binding

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// ErrConfig is wrapped by errors about the configuration; the message names the field and what is allowed.
var ErrConfig = errors.New("invalid configuration")

// Config is the part of the node's configuration that names interfaces.
type Config struct {
	// Interfaces are tried in order. Several entries may have the same name: the first that finds a NIC on this
	// node counts, so one configuration serves nodes with different hardware.
	Interfaces []InterfaceConfig `json:"interfaces"`
}

// InterfaceConfig says which NIC an interface name stands for. Exactly one of NetDev, MAC and CIDR is set.
type InterfaceConfig struct {
	// Name is 1 to 32 of a-z, 0-9 and -, beginning and ending with a letter or digit.
	Name string `json:"name"`
	// NetDev is the name of a network device.
	NetDev string `json:"netdev,omitempty"`
	// MAC is a 48-bit hardware address, with colons or dashes.
	MAC string `json:"mac,omitempty"`
	// CIDR is a subnet, such as 192.0.2.0/24; the NIC is the one with an address in it.
	CIDR string `json:"cidr,omitempty"`
}

var (
	// namePattern keeps names usable as part of a file name of open-iscsi and of a topology label.
	namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	// netdevPattern is narrower than dev_valid_name(): it leaves out what confuses record files.
	netdevPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}$`)
)

// CheckName says whether a string can be an interface's name; the error wraps ErrConfig.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: interface name %.64q: want 1 to 32 of a-z 0-9 -, beginning and ending with a letter or digit",
			ErrConfig, name)
	}
	return nil
}

// ParseConfig reads YAML strictly: an unknown or duplicate field is an error.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return c, c.Validate()
}

// Validate checks every field and reports all that is wrong.
func (c Config) Validate() error {
	if len(c.Interfaces) == 0 {
		return fmt.Errorf("%w: interfaces: empty; name at least one, such as {name: san-a, netdev: eth2}", ErrConfig)
	}
	var errs []error
	seen := map[InterfaceConfig]bool{}
	for i, entry := range c.Interfaces {
		err := entry.validate()
		if key := entry.canonical(); err == nil && seen[key] {
			err = fmt.Errorf("%w: the same entry is there twice", ErrConfig)
		} else {
			seen[key] = true
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("interfaces[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func (c InterfaceConfig) validate() error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	set := 0
	for _, s := range []string{c.NetDev, c.MAC, c.CIDR} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		return fmt.Errorf("%w: interface %q: want exactly one of netdev, mac and cidr, got %d", ErrConfig, c.Name, set)
	}
	switch {
	case c.NetDev != "" && (!netdevPattern.MatchString(c.NetDev) || strings.Contains(c.NetDev, "..")):
		return fmt.Errorf("%w: interface %q: netdev %.64q: want the name of a network device, at most 15 characters",
			ErrConfig, c.Name, c.NetDev)
	case c.MAC != "" && !validMAC(c.MAC):
		return fmt.Errorf("%w: interface %q: mac %.64q: want six hexadecimal pairs, such as 02:00:5e:10:00:01",
			ErrConfig, c.Name, c.MAC)
	case c.CIDR != "" && !validCIDR(c.CIDR):
		return fmt.Errorf("%w: interface %q: cidr %.64q: want a subnet without host bits, such as 192.0.2.0/24",
			ErrConfig, c.Name, c.CIDR)
	}
	return nil
}

func validMAC(s string) bool {
	mac, err := net.ParseMAC(s)
	return err == nil && len(mac) == 6 && !strings.Contains(s, ".")
}

func validCIDR(s string) bool {
	prefix, err := netip.ParsePrefix(s)
	return err == nil && prefix == prefix.Masked() && prefix.Bits() > 0 && !prefix.Addr().Is4In6()
}

// canonical makes entries comparable. Only valid ones need to be.
func (c InterfaceConfig) canonical() InterfaceConfig {
	if mac, err := net.ParseMAC(c.MAC); err == nil {
		c.MAC = mac.String()
	}
	if prefix, err := netip.ParsePrefix(c.CIDR); err == nil {
		c.CIDR = prefix.String()
	}
	return c
}
