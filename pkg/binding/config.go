package binding

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"strings"
)

// ErrConfig is wrapped by errors about the configuration; the message names the field and what is allowed.
var ErrConfig = errors.New("invalid configuration")

// Config is the part of the node's configuration that names interfaces.
type Config struct {
	// Interfaces are tried in order. Several entries may have the same name: the first that finds a NIC on this
	// node counts, so one configuration serves nodes with different hardware.
	Interfaces []InterfaceConfig `json:"interfaces"`
}

// InterfaceConfig says which NIC an interface name stands for. Exactly one of NetDev, MAC, CIDR, PCI and Driver is set.
type InterfaceConfig struct {
	// Name is 1 to 32 of a-z, 0-9 and -, beginning and ending with a letter or digit.
	Name string `json:"name"`
	// NetDev is the name of a network device, or a pattern with *, ? and [a-z].
	NetDev string `json:"netdev,omitempty"`
	// MAC is a 48-bit hardware address, with colons or dashes.
	MAC string `json:"mac,omitempty"`
	// CIDR is a subnet, such as 192.0.2.0/24; the NIC is the one with an address in it.
	CIDR string `json:"cidr,omitempty"`
	// PCI is the address of a PCI function, such as 0000:3b:00.1.
	PCI string `json:"pci,omitempty"`
	// Driver is the name of a kernel driver, as `ethtool -i` shows it.
	Driver string `json:"driver,omitempty"`
	// NodeSelector are labels that a node must have for the entry to hold there. None: every node.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
}

var (
	// namePattern keeps names usable as part of a file name of open-iscsi and of a topology label.
	namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	// netdevPattern is narrower than dev_valid_name(): it leaves out what confuses record files.
	netdevPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,14}$`)
	globPattern   = regexp.MustCompile(`^[A-Za-z0-9_*?\[][A-Za-z0-9_.:@*?\[\]^-]{0,62}$`)
	pciPattern    = regexp.MustCompile(`^([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]$`)
	driverPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,31}$`)
	// labelPattern is what Kubernetes takes as the key of a label, valuePattern as its value.
	labelPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	valuePattern = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$`)
)

// CheckName says whether a string can be an interface's name; the error wraps ErrConfig.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("%w: interface name %.64q: want 1 to 32 of a-z 0-9 -, beginning and ending with a letter or digit",
			ErrConfig, name)
	}
	return nil
}

// Validate checks every field and reports all that is wrong.
func (c Config) Validate() error {
	if len(c.Interfaces) == 0 {
		return fmt.Errorf("%w: interfaces: empty; name at least one, such as {name: san-a, netdev: eth2}", ErrConfig)
	}
	var errs []error
	seen := map[string]bool{}
	for i, entry := range c.Interfaces {
		err := entry.validate()
		if key := fmt.Sprintf("%+v", entry.canonical()); err == nil && seen[key] {
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
	for _, rule := range c.rules() {
		if rule.value == "" {
			continue
		}
		set++
		if !rule.valid(rule.value) {
			return fmt.Errorf("%w: interface %q: %s %.64q: want %s", ErrConfig, c.Name, rule.key, rule.value, rule.want)
		}
	}
	if set != 1 {
		return fmt.Errorf("%w: interface %q: want exactly one of netdev, mac, cidr, pci and driver, got %d", ErrConfig, c.Name, set)
	}
	for key, value := range c.NodeSelector {
		if !labelPattern.MatchString(key) || !valuePattern.MatchString(value) {
			return fmt.Errorf("%w: interface %q: nodeSelector %.64q: %.64q: want labels as nodes have them, such as zone: a",
				ErrConfig, c.Name, key, value)
		}
	}
	return nil
}

// rule is one way to find a NIC.
type rule struct {
	key, value string
	valid      func(string) bool
	want       string
}

func (c InterfaceConfig) rules() []rule {
	return []rule{
		{"netdev", c.NetDev, validNetDev, "the name of a network device, at most 15 characters, or a pattern with *, ? and [a-z]"},
		{"mac", c.MAC, validMAC, "six hexadecimal pairs, such as 02:00:5e:10:00:01"},
		{"cidr", c.CIDR, validCIDR, "a subnet without host bits, such as 192.0.2.0/24"},
		{"pci", c.PCI, pciPattern.MatchString, "a PCI address, such as 0000:3b:00.1"},
		{"driver", c.Driver, driverPattern.MatchString, "the name of a kernel driver as ethtool -i shows it, such as mlx5_core"},
	}
}

func validNetDev(s string) bool {
	if !isGlob(s) {
		return netdevPattern.MatchString(s) && !strings.Contains(s, "..")
	}
	_, err := path.Match(s, "")
	return err == nil && globPattern.MatchString(s)
}

// isGlob says that a device is given by a pattern. No name that is taken as one has these characters.
func isGlob(s string) bool { return strings.ContainsAny(s, "*?[") }

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
	if c.PCI = strings.ToLower(c.PCI); len(c.PCI) == len("3b:00.1") {
		c.PCI = "0000:" + c.PCI
	}
	return c
}
