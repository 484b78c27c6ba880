package volume

import (
	"slices"
	"strings"
	"time"
)

// Keys of the path policy: in the parameters of a StorageClass, in those of a VolumeAttributesClass, and kept with the volume
// at the target, from where they come into the publish context.
const (
	keyPathSelector       = "pathSelector"
	keyPathGroupingPolicy = "pathGroupingPolicy"
	keyPreferredInterface = "preferredInterface"
	keyNoPathRetry        = "noPathRetry"
	keyFailureDetection   = "failureDetection"
)

var policyKeys = []string{keyPathSelector, keyPathGroupingPolicy, keyPreferredInterface, keyNoPathRetry, keyFailureDetection}

// Values of the path policy that mean something here.
const (
	groupMultibus = "multibus"
	retryQueue    = "queue"
	retryFail     = "fail"

	detectFast    = "fast"
	detectDefault = "default"
)

const (
	minRetry = 5 * time.Second
	maxRetry = 24 * time.Hour

	retryRule = "queue, fail, or a time in whole seconds from 5s to 24h, such as 30s or 5m"
)

var (
	pathSelectors = []string{"service-time", "round-robin", "queue-length"}
	pathGroupings = []string{groupMultibus, "group_by_prio", "failover"}
)

// Policy says how I/O uses the paths of a volume. A field is empty where the driver's default holds.
type Policy struct {
	// PathSelector picks a path within a group: service-time, round-robin or queue-length.
	PathSelector string
	// PathGroupingPolicy makes the groups, of which one carries I/O: multibus, group_by_prio or failover.
	PathGroupingPolicy string
	// PreferredInterface carries the I/O while one of its paths works.
	PreferredInterface string
	// NoPathRetry is what I/O does when no path works: queue, fail, or a time in time.Duration's form.
	NoPathRetry string
	// FailureDetection is how soon a path is given up that answers no more: fast, or as the node is configured.
	FailureDetection string
}

// ParseMutableParameters applies those of a VolumeAttributesClass to a policy: a key that is there replaces, with an empty
// value it puts the default back, one that is not changes nothing. Errors are *FieldError.
func ParseMutableParameters(p Policy, m map[string]string) (Policy, error) {
	f, _ := splitMetadata("mutable_parameters", m)
	return p.with(f)
}

// ParseAttributes reads the policy that is kept with a volume at the target. Errors are *FieldError.
func ParseAttributes(m map[string]string) (Policy, error) {
	f, _ := splitMetadata("attributes of the volume", m)
	return Policy{}.with(f)
}

// with applies all that f has.
func (p Policy) with(f *fields) (Policy, error) {
	raw := f.policy()
	if err := f.unknown(); err != nil {
		return Policy{}, err
	}
	return p.apply(f, raw)
}

// policy takes the keys of a policy that are there.
func (f *fields) policy() map[string]string {
	raw := map[string]string{}
	for _, k := range policyKeys {
		if v, ok := f.values[k]; ok {
			raw[k] = v
		}
		f.known = append(f.known, k)
	}
	return raw
}

// apply checks each value, and then whether they go together.
func (p Policy) apply(f *fields, raw map[string]string) (Policy, error) {
	for _, field := range []struct {
		key  string
		into *string
		read func(field, s string) (string, error)
	}{
		{keyPathSelector, &p.PathSelector, oneOf(pathSelectors)},
		{keyPathGroupingPolicy, &p.PathGroupingPolicy, oneOf(pathGroupings)},
		{keyPreferredInterface, &p.PreferredInterface, parseInterface},
		{keyNoPathRetry, &p.NoPathRetry, parseRetry},
		{keyFailureDetection, &p.FailureDetection, parseDetection},
	} {
		s, ok := raw[field.key]
		if !ok {
			continue
		}
		value := ""
		if s != "" {
			var err error
			if value, err = field.read(f.field(field.key), s); err != nil {
				return Policy{}, err
			}
		}
		*field.into = value
	}
	if p.PreferredInterface != "" && p.PathGroupingPolicy == groupMultibus {
		return Policy{}, NewFieldError(f.field(keyPathGroupingPolicy), groupMultibus,
			"group_by_prio or failover together with "+keyPreferredInterface+", or none")
	}
	return p, nil
}

func oneOf(allowed []string) func(field, s string) (string, error) {
	return func(field, s string) (string, error) {
		if slices.Contains(allowed, s) {
			return s, nil
		}
		return "", NewFieldError(field, s, strings.Join(allowed, ", "))
	}
}

func parseInterface(field, s string) (string, error) {
	if !validInterface(s) {
		return "", NewFieldError(field, s, "an interface name: "+interfaceRule)
	}
	return s, nil
}

// parseRetry gives one form to each meaning.
func parseRetry(field, s string) (string, error) {
	if s == retryQueue || s == retryFail {
		return s, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < minRetry || d > maxRetry || d%time.Second != 0 {
		return "", NewFieldError(field, s, retryRule)
	}
	return d.String(), nil
}

// parseDetection takes the default's name, too, which is kept as nothing.
func parseDetection(field, s string) (string, error) {
	if s == detectDefault {
		return "", nil
	}
	if s != detectFast {
		return "", NewFieldError(field, s, detectFast+", "+detectDefault)
	}
	return s, nil
}

// Attributes is the policy as the target keeps it: what ParseAttributes takes.
func (p Policy) Attributes() map[string]string {
	m := map[string]string{}
	p.add(m)
	return m
}

func (p Policy) add(m map[string]string) {
	setIf(m, keyPathSelector, p.PathSelector)
	setIf(m, keyPathGroupingPolicy, p.PathGroupingPolicy)
	setIf(m, keyPreferredInterface, p.PreferredInterface)
	setIf(m, keyNoPathRetry, p.NoPathRetry)
	setIf(m, keyFailureDetection, p.FailureDetection)
}

// CheckInterface refuses a preferred interface that is not among those that the volume uses, or, where that is not known,
// those that nodes have.
func (p Policy) CheckInterface(field string, used, known []string) error {
	if len(used) == 0 {
		used = known
	}
	if p.PreferredInterface == "" || len(used) == 0 || slices.Contains(used, p.PreferredInterface) {
		return nil
	}
	path := (&fields{path: field}).field(keyPreferredInterface)
	return NewFieldError(path, p.PreferredInterface, strings.Join(used, ", ")+", the interfaces of the volume")
}
