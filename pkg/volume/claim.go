package volume

import "regexp"

// Keys that Kubernetes' provisioner adds to the parameters (--extra-create-metadata). The volume context carries them on,
// so that a node knows whose volume it is without asking anybody.
const (
	keyClaimName      = "csi.storage.k8s.io/pvc/name"
	keyClaimNamespace = "csi.storage.k8s.io/pvc/namespace"
	keyClaimVolume    = "csi.storage.k8s.io/pv/name"
)

const (
	maxNamespace  = 63
	maxObjectName = 253

	namespaceRule  = "a namespace: at most 63 characters a-z, 0-9 and '-', the first and last a letter or digit"
	objectNameRule = "a name in Kubernetes: at most 253 characters a-z, 0-9, '-' and '.', each part between dots with a letter or " +
		"digit at both ends"
)

var (
	namespaceForm  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	objectNameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// Claim is the PersistentVolumeClaim that a volume was made for; the zero value when that is not known.
type Claim struct {
	Namespace, Name string
	// Volume is the name of the PersistentVolume, if known: a claim of the same name may be bound to another one now.
	Volume string
}

// claimOf reads the claim of the keys that Kubernetes added. Without both name and namespace there is none.
func claimOf(f *fields, metadata map[string]string) (Claim, error) {
	c := Claim{Namespace: metadata[keyClaimNamespace], Name: metadata[keyClaimName], Volume: metadata[keyClaimVolume]}
	switch {
	case c.Namespace == "" || c.Name == "":
		return Claim{}, nil
	case len(c.Namespace) > maxNamespace || !namespaceForm.MatchString(c.Namespace):
		return Claim{}, NewFieldError(f.field(keyClaimNamespace), c.Namespace, namespaceRule)
	case !isObjectName(c.Name):
		return Claim{}, NewFieldError(f.field(keyClaimName), c.Name, objectNameRule)
	case c.Volume != "" && !isObjectName(c.Volume):
		return Claim{}, NewFieldError(f.field(keyClaimVolume), c.Volume, objectNameRule)
	}
	return c, nil
}

func isObjectName(s string) bool { return len(s) <= maxObjectName && objectNameForm.MatchString(s) }

// add puts the claim's keys into a context.
func (c Claim) add(m map[string]string) {
	setIf(m, keyClaimNamespace, c.Namespace)
	setIf(m, keyClaimName, c.Name)
	setIf(m, keyClaimVolume, c.Volume)
}
