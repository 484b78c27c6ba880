package driver

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/iscsi/iscsiname"
	"github.com/portbind/portbind/pkg/volume"
)

const (
	// InitiatorAuto as NodeConfig.InitiatorName makes a name of the node's.
	InitiatorAuto = "auto"
	// InitiatorHost takes the host's name.
	InitiatorHost = "host"

	// TimersFast is the default: a stall ends within 7 s.
	TimersFast = "fast"
	// TimersTolerant takes 16 s, for a network that pauses for seconds.
	TimersTolerant = "tolerant"

	defaultStateDir = "/var/lib/portbind"
	minLinger       = time.Second
	maxLinger       = 24 * time.Hour
)

// NodeConfig is the configuration file of `portbind-csi node`, YAML.
type NodeConfig struct {
	// Interfaces name the NICs that carry iSCSI.
	Interfaces []binding.InterfaceConfig `json:"interfaces"`
	// NodeAnnotation lets a node's annotation replace entries of Interfaces there.
	NodeAnnotation bool `json:"nodeAnnotation"`
	// ManageSysctls sets what the kernel needs on interfaces that share a subnet, and puts it back. What was set before is put
	// back as well when it is false.
	ManageSysctls bool `json:"manageSysctls"`
	// Portals are those that the interfaces are to reach, for judging them before a volume does; they may be left out.
	Portals []string `json:"portals"`
	// InitiatorName is auto (derived from the node's name), host (that of /etc/iscsi/initiatorname.iscsi) or a name.
	// It is the node's CSI id: changing it is for nodes without volumes.
	InitiatorName string `json:"initiatorName"`
	// StateDir is an absolute path; what is there must survive reboots.
	StateDir string `json:"stateDir"`
	// SessionLinger is how long a session that no volume uses any more is kept for the next one.
	SessionLinger Duration `json:"sessionLinger"`
	// InstantFailover moves I/O away from a NIC when its link is lost; otherwise the timers do. True unless the file says false.
	InstantFailover bool `json:"instantFailover"`
	// Timers say how soon the loss of a path is noticed that no link shows: TimersFast or TimersTolerant.
	Timers string `json:"timers"`
}

// Duration is a time.Duration that YAML has as "90s" or "5m".
type Duration time.Duration

// UnmarshalJSON takes what time.ParseDuration takes.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("a duration such as \"5m\" is wanted: %w", err)
	}
	parsed, err := time.ParseDuration(s)
	*d = Duration(parsed)
	return err
}

// LoadNodeConfig reads and checks a configuration file. Unknown keys are errors.
func LoadNodeConfig(path string) (NodeConfig, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return NodeConfig{}, fmt.Errorf("read the configuration: %w", err)
	}
	cfg, err := parseNodeConfig(raw)
	if err != nil {
		return NodeConfig{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	return cfg, nil
}

// parseNodeConfig fills in the defaults of what the file leaves out.
func parseNodeConfig(raw []byte) (NodeConfig, error) {
	cfg := NodeConfig{
		InitiatorName: InitiatorAuto, StateDir: defaultStateDir, SessionLinger: Duration(attach.DefaultGrace),
		Timers: TimersFast, InstantFailover: true,
	}
	if err := yaml.UnmarshalStrict(raw, &cfg); err != nil {
		return NodeConfig{}, err
	}
	return cfg, cfg.check()
}

// check refuses what cannot work on any node; what does not on this one shows when it is used.
func (c NodeConfig) check() error {
	if err := c.Binding().Validate(); err != nil {
		return err
	}
	if _, err := c.PortalList(); err != nil {
		return err
	}
	if c.InitiatorName != InitiatorAuto && c.InitiatorName != InitiatorHost {
		if _, err := volume.ParseIQN("initiatorName", c.InitiatorName); err != nil {
			return fmt.Errorf("%w; or auto, or host", err)
		}
	}
	if !filepath.IsAbs(c.StateDir) {
		return volume.NewFieldError("stateDir", c.StateDir, "an absolute path")
	}
	if linger := time.Duration(c.SessionLinger); linger < minLinger || linger > maxLinger {
		return volume.NewFieldError("sessionLinger", linger.String(), minLinger.String()+" to "+maxLinger.String())
	}
	if c.Timers != TimersFast && c.Timers != TimersTolerant {
		return volume.NewFieldError("timers", c.Timers, TimersFast+", "+TimersTolerant)
	}
	return nil
}

// Binding is the part that names interfaces.
func (c NodeConfig) Binding() binding.Config { return binding.Config{Interfaces: c.Interfaces} }

// PortalList gives the configured portals.
func (c NodeConfig) PortalList() ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for i, text := range c.Portals {
		portal, err := iscsiname.ParsePortal(text)
		if err != nil {
			return nil, volume.NewFieldError(fmt.Sprintf("portals[%d]", i), text,
				"an IP address with an optional port, such as 192.0.2.1:3260 or [2001:db8::1]:3260")
		}
		all = append(all, portal)
	}
	return all, nil
}
