package volume

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
)

// Keys of the volume context and the publish context.
const (
	keyIQN     = "iqn"
	keyPortals = "portals"
	keyWWID    = "wwid"
	keyLUN     = "lun"
)

// Context is the volume context: what every node needs to reach a volume. It holds no secret.
type Context struct {
	// IQN is the target's name, Portals where it listens.
	IQN     string
	Portals []netip.AddrPort
	// WWID is what each path must report; empty only for a static volume whose owner did not know it.
	WWID string
	// LUN is set for static volumes only; of others the publish context has it. So is their Policy.
	LUN    *int
	Policy Policy
	// Interfaces, Pairing, MinPaths and FSType are as in Parameters.
	Interfaces []string
	Pairing    binding.Pairing
	MinPaths   int
	FSType     string
	// Claim is whose volume it is, for events about it.
	Claim Claim
	// Metadata are the keys that Kubernetes adds (podInfoOnMount, the provisioner's identity), Claim's among them.
	Metadata map[string]string
}

// ParseContext reads the volume context of the volume id. Errors are *FieldError.
func ParseContext(id ID, m map[string]string) (Context, error) {
	f, metadata := splitMetadata("volume_context", m)
	c := Context{Metadata: metadata}
	raw := map[string]string{}
	for _, k := range []string{keyIQN, keyPortals, keyWWID, keyInterfaces, keyPairing, keyMinPaths, keyFSType} {
		raw[k] = f.get(k)
	}
	var policy map[string]string
	if id.IsStatic() {
		raw[keyLUN], policy = f.get(keyLUN), f.policy()
	}
	if err := f.unknown(); err != nil {
		return Context{}, err
	}
	if err := c.parseAddress(f, raw, id.IsStatic()); err != nil {
		return Context{}, err
	}
	if err := c.parsePolicy(f, raw); err != nil {
		return Context{}, err
	}
	var err error
	if c.Policy, err = c.Policy.apply(f, policy); err != nil {
		return Context{}, err
	}
	if c.Claim, err = claimOf(f, metadata); err != nil {
		return Context{}, err
	}
	return c, c.Policy.CheckInterface("volume_context", c.Interfaces, nil)
}

// parseAddress reads what says where the volume is.
func (c *Context) parseAddress(f *fields, raw map[string]string, static bool) error {
	var err error
	if c.IQN, err = ParseIQN(f.field(keyIQN), raw[keyIQN]); err != nil {
		return err
	}
	if c.Portals, err = parsePortals(f.field(keyPortals), raw[keyPortals]); err != nil {
		return err
	}
	if raw[keyWWID] != "" || !static {
		if c.WWID, err = parseWWID(f.field(keyWWID), raw[keyWWID]); err != nil {
			return err
		}
	}
	if !static {
		return nil
	}
	lun, err := parseInt(f.field(keyLUN), raw[keyLUN], 0, MaxLUN)
	c.LUN = &lun
	return err
}

// parsePolicy reads what says how the volume is attached.
func (c *Context) parsePolicy(f *fields, raw map[string]string) error {
	var err error
	if c.Interfaces, err = parseInterfaces(f.field(keyInterfaces), raw[keyInterfaces]); err != nil {
		return err
	}
	if c.Pairing, err = parsePairing(f.field(keyPairing), raw[keyPairing]); err != nil {
		return err
	}
	if c.MinPaths, err = parseMinPaths(f.field(keyMinPaths), raw[keyMinPaths]); err != nil {
		return err
	}
	if c.FSType, err = parseFSType(f.field(keyFSType), raw[keyFSType]); err != nil {
		return err
	}
	if n := len(c.Interfaces) * len(c.Portals); n > 0 && c.MinPaths > n {
		return tooManyPaths(f.field(keyMinPaths), c.MinPaths, len(c.Interfaces), len(c.Portals))
	}
	return nil
}

func tooManyPaths(field string, minPaths, interfaces, portals int) error {
	return NewFieldError(field, strconv.Itoa(minPaths), fmt.Sprintf(
		"1 to %d, as there are %d interfaces and %d portals", interfaces*portals, interfaces, portals))
}

// Map is the context as the CO keeps it: what ParseContext takes. Of Metadata only the claim is repeated.
func (c Context) Map() map[string]string {
	m := map[string]string{keyIQN: c.IQN, keyPortals: joinPortals(c.Portals)}
	setIf(m, keyWWID, c.WWID)
	setIf(m, keyInterfaces, strings.Join(c.Interfaces, ","))
	setIf(m, keyPairing, string(c.Pairing))
	setIf(m, keyFSType, c.FSType)
	if c.MinPaths > 0 {
		m[keyMinPaths] = strconv.Itoa(c.MinPaths)
	}
	if c.LUN != nil {
		m[keyLUN] = strconv.Itoa(*c.LUN)
	}
	c.Policy.add(m)
	c.Claim.add(m)
	return m
}

func setIf(m map[string]string, key, value string) {
	if value != "" {
		m[key] = value
	}
}

// PublishContext is what a publish adds for one node. It holds no secret.
type PublishContext struct {
	// LUN is the logical unit number at which this node finds the volume.
	LUN int
	// Policy is the volume's at the time of the publish.
	Policy Policy
}

// ParsePublishContext reads a publish context. Errors are *FieldError.
func ParsePublishContext(m map[string]string) (PublishContext, error) {
	f, _ := splitMetadata("publish_context", m)
	raw, policy := f.get(keyLUN), f.policy()
	if err := f.unknown(); err != nil {
		return PublishContext{}, err
	}
	lun, err := parseInt(f.field(keyLUN), raw, 0, MaxLUN)
	if err != nil {
		return PublishContext{}, err
	}
	c := PublishContext{LUN: lun}
	c.Policy, err = c.Policy.apply(f, policy)
	return c, err
}

// Map is the context as the CO keeps it.
func (c PublishContext) Map() map[string]string {
	m := map[string]string{keyLUN: strconv.Itoa(c.LUN)}
	c.Policy.add(m)
	return m
}
