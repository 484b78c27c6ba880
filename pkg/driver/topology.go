package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/volume"
)

// A node has one topology segment for each configured interface that it has, and a volume is accessible where all of its
// interfaces are. What a node lacks is left out, not "false": kubelet makes a label of a segment and refuses to register a
// plugin that wants another value for it, so a node would lose the whole driver when it has lost a NIC, or got it. What
// may pass by itself makes no difference: kubelet asks once, when the plugin registers.
const hasInterface = "true"

// errElsewhere is a volume that none of the topologies asked for can reach.
var errElsewhere = errors.New("not accessible from there")

func topologyKey(interfaceName string) string { return TopologyPrefix + interfaceName }

// segments says which of the configured interfaces a node has: a NIC of its own with an address.
func segments(r binding.Resolution) map[string]string {
	out := map[string]string{}
	for _, s := range compliance.Evaluate(compliance.Snapshot{Interfaces: r}) {
		if s.State().Present() {
			out[topologyKey(s.Interface)] = hasInterface
		}
	}
	return out
}

// accessibleFrom gives the topology of a volume's interfaces; none when it uses whatever a node has.
func accessibleFrom(interfaces []string) []*csi.Topology {
	if len(interfaces) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, name := range interfaces {
		out[topologyKey(name)] = hasInterface
	}
	return []*csi.Topology{{Segments: out}}
}

// offers says whether a topology may have all the interfaces. One that it does not speak of may be there: what is required of a
// volume may come from a class, or be what several nodes have in common.
func offers(t *csi.Topology, interfaces []string) bool {
	return !slices.ContainsFunc(interfaces, func(name string) bool {
		value, said := t.GetSegments()[topologyKey(name)]
		return said && value != hasInterface
	})
}

// has says whether a node has all the interfaces. Of a node, what is not spoken of is not there; no node at all is any.
func has(node *csi.Topology, interfaces []string) bool {
	return len(node.GetSegments()) == 0 || !slices.ContainsFunc(interfaces, func(name string) bool {
		return node.GetSegments()[topologyKey(name)] != hasInterface
	})
}

// checkTopology refuses a volume that would be of no use in any of the topologies asked for.
func checkTopology(req *csi.TopologyRequirement, interfaces []string) error {
	wanted := slices.Concat(req.GetRequisite(), req.GetPreferred())
	if err := checkSegments("accessibility_requirements", wanted...); err != nil {
		return err
	}
	if len(wanted) == 0 || slices.ContainsFunc(wanted, func(t *csi.Topology) bool { return offers(t, interfaces) }) {
		return nil
	}
	return fmt.Errorf("accessibility_requirements: no node asked for has all of the interfaces %s: %w",
		strings.Join(interfaces, ", "), errElsewhere)
}

// checkSegments refuses topologies that are not this driver's.
func checkSegments(field string, topologies ...*csi.Topology) error {
	for _, t := range topologies {
		for key := range t.GetSegments() {
			if !strings.HasPrefix(key, TopologyPrefix) {
				return volume.NewFieldError(field, key, "keys that begin with "+TopologyPrefix)
			}
		}
	}
	return nil
}
