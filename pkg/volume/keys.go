package volume

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// metadataPrefixes start the keys that Kubernetes' sidecars and kubelet add of their own accord: the provisioner's
// --extra-create-metadata and identity, kubelet's podInfoOnMount.
var metadataPrefixes = []string{"csi.storage.k8s.io/", "storage.kubernetes.io/"}

// fields is a string map under strict parsing: get marks a key as known, done complains about the others.
type fields struct {
	path   string
	values map[string]string
	known  []string
}

// splitMetadata parts the keys that Kubernetes adds from those of the driver.
func splitMetadata(path string, m map[string]string) (f *fields, metadata map[string]string) {
	f = &fields{path: path, values: make(map[string]string, len(m))}
	for k, v := range m {
		if isMetadata(k) {
			if metadata == nil {
				metadata = map[string]string{}
			}
			metadata[k] = v
			continue
		}
		f.values[k] = v
	}
	return f, metadata
}

func isMetadata(key string) bool {
	return slices.ContainsFunc(metadataPrefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// get returns the value of a key, empty when it is absent.
func (f *fields) get(key string) string {
	f.known = append(f.known, key)
	return f.values[key]
}

// field is the path of a key in errors.
func (f *fields) field(key string) string { return fmt.Sprintf("%s[%q]", f.path, key) }

// unknown refuses the first key, in order, that nobody asked for. Its value is not repeated: it may be a secret that
// was put in the wrong place.
func (f *fields) unknown() error {
	for _, k := range slices.Sorted(maps.Keys(f.values)) {
		if !slices.Contains(f.known, k) {
			return &FieldError{Field: f.path, Value: "unknown key " + show(k), Allowed: allowedKeys(f.known)}
		}
	}
	return nil
}

func allowedKeys(known []string) string {
	if len(known) == 0 {
		return "no keys"
	}
	return strings.Join(slices.Sorted(slices.Values(known)), ", ")
}
