package binding

import (
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"
)

// On gives the entries that hold on a node with these labels.
func (c Config) On(labels map[string]string) Config {
	c.Interfaces = slices.DeleteFunc(slices.Clone(c.Interfaces), func(i InterfaceConfig) bool {
		for key, value := range i.NodeSelector {
			if got, there := labels[key]; !there || got != value {
				return true
			}
		}
		return false
	})
	return c
}

// Selects says that it depends on a node's labels which entries hold there.
func (c Config) Selects() bool {
	return slices.ContainsFunc(c.Interfaces, func(i InterfaceConfig) bool { return len(i.NodeSelector) > 0 })
}

// Override gives the configuration with a node's own entries, a YAML list, in place of all of the same names. An error wraps
// ErrConfig; the configuration is then as it was.
func (c Config) Override(list string) (Config, error) {
	var own Config
	if err := yaml.UnmarshalStrict([]byte(list), &own.Interfaces); err != nil {
		return c, fmt.Errorf("%w: want a list such as [{name: san-a, netdev: eth4}]: %w", ErrConfig, err)
	}
	if err := own.Validate(); err != nil {
		return c, err
	}
	if own.Selects() {
		return c, fmt.Errorf("%w: nodeSelector: there is one node only", ErrConfig)
	}
	names := own.names()
	rest := slices.DeleteFunc(slices.Clone(c.Interfaces), func(i InterfaceConfig) bool { return slices.Contains(names, i.Name) })
	c.Interfaces = slices.Concat(own.Interfaces, rest)
	return c, nil
}
