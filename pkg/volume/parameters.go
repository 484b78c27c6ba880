package volume

import (
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/binding"
)

// Keys of StorageClass parameters; those that describe the attachment are keys of the volume context as well.
const (
	keyTarget     = "target"
	keyPool       = "pool"
	keyInterfaces = "interfaces"
	keyPairing    = "pairing"
	keyMinPaths   = "minPaths"
	keyFSType     = "fsType"
)

// Parameters are those of a StorageClass.
type Parameters struct {
	// Target and Pool say where volumes are made; empty leaves the choice to the driver.
	Target, Pool string
	// Interfaces are the names of the storage ports to use, in order; none means all that a node has.
	Interfaces []string
	// Pairing says which interfaces meet which portals; auto by default.
	Pairing binding.Pairing
	// MinPaths is how many paths a device needs before it is used; 1 by default.
	MinPaths int
	// FSType is empty when the class does not name one.
	FSType string
	// Policy can be changed later.
	Policy Policy
	// Claim is whose volume it is to be.
	Claim Claim
	// Metadata are the keys that Kubernetes' provisioner adds (csi.storage.k8s.io/...), Claim's among them.
	Metadata map[string]string
}

// ParseParameters reads StorageClass parameters. Errors are *FieldError.
func ParseParameters(m map[string]string) (Parameters, error) {
	f, metadata := splitMetadata("parameters", m)
	p := Parameters{Target: f.get(keyTarget), Pool: f.get(keyPool), Metadata: metadata}
	err := p.parse(f)
	if err == nil {
		p.Claim, err = claimOf(f, metadata)
	}
	if err != nil {
		return Parameters{}, err
	}
	return p, nil
}

func (p *Parameters) parse(f *fields) error {
	interfaces, pairing, minPaths, fsType := f.get(keyInterfaces), f.get(keyPairing), f.get(keyMinPaths), f.get(keyFSType)
	policy := f.policy()
	if err := f.unknown(); err != nil {
		return err
	}
	if err := p.checkPlace(f); err != nil {
		return err
	}
	var err error
	if p.Interfaces, err = parseInterfaces(f.field(keyInterfaces), interfaces); err != nil {
		return err
	}
	if p.Pairing, err = parsePairing(f.field(keyPairing), pairing); err != nil {
		return err
	}
	if p.MinPaths, err = parseMinPaths(f.field(keyMinPaths), minPaths); err != nil {
		return err
	}
	if p.Policy, err = p.Policy.apply(f, policy); err != nil {
		return err
	}
	p.FSType, err = parseFSType(f.field(keyFSType), fsType)
	return err
}

func (p *Parameters) checkPlace(f *fields) error {
	if p.Target != "" {
		if err := CheckTargetName(f.field(keyTarget), p.Target); err != nil {
			return err
		}
	}
	if p.Pool != "" {
		return CheckPoolName(f.field(keyPool), p.Pool)
	}
	return nil
}

// CheckInterfaces refuses an interface that no node has, when the names that nodes have are known.
func (p Parameters) CheckInterfaces(known []string) error {
	if len(known) == 0 {
		return nil
	}
	for _, name := range p.Interfaces {
		if !slices.Contains(known, name) {
			return NewFieldError(`parameters["interfaces"]`, name, strings.Join(known, ", ")+", the interfaces of the nodes")
		}
	}
	return nil
}

// CheckPaths refuses a minPaths that the class's interfaces and the target's portals can never reach.
func (p Parameters) CheckPaths(portals int) error {
	if n := len(p.Interfaces) * portals; n > 0 && p.MinPaths > n {
		return tooManyPaths(`parameters["minPaths"]`, p.MinPaths, len(p.Interfaces), portals)
	}
	return nil
}

// Context is the volume context of a volume with these parameters.
func (p Parameters) Context() Context {
	return Context{
		Interfaces: slices.Clone(p.Interfaces), Pairing: p.Pairing, MinPaths: p.MinPaths, FSType: p.FSType, Claim: p.Claim,
	}
}

// ParseSnapshotParameters reads the parameters of a VolumeSnapshotClass: there are none but Kubernetes' own.
func ParseSnapshotParameters(m map[string]string) (metadata map[string]string, err error) {
	f, metadata := splitMetadata("parameters", m)
	if err := f.unknown(); err != nil {
		return nil, err
	}
	return metadata, nil
}
