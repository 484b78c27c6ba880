//go:build cluster

package refused

import (
	"strings"
	"testing"

	"github.com/portbind/portbind/test/cluster/clusterenv"
)

// mistakes are parameters of a class by name, each with what the claim's event has to say of it.
var mistakes = map[string]struct {
	key, value string
	words      []string
}{
	"unknown-parameter":   {"interface", "san-a", []string{`parameters: unknown key "interface"`, "interfaces, minPaths, noPathRetry, "}},
	"unknown-interface":   {"interfaces", "san-a,san-z", []string{`parameters["interfaces"]: "san-z"`, "san-a, san-b"}},
	"malformed-interface": {"interfaces", "san-a;san-b", []string{`parameters["interfaces"]: "san-a;san-b"`, "separated by commas"}},
	"paths-of-nowhere":    {"minPaths", "5", []string{`parameters["minPaths"]: "5"`, "1 to 4, as there are 2 interfaces and 2 portals"}},
	"no-number":           {"minPaths", "two", []string{`parameters["minPaths"]: "two"`, "a number from 1 to 64"}},
	"pairing":             {"pairing", "all", []string{`parameters["pairing"]: "all"`, "auto, mesh, fabric"}},
	"file-system":         {"fsType", "ntfs", []string{`parameters["fsType"]: "ntfs"`, "ext4, xfs, btrfs"}},
	"kubernetes-fs":       {"csi.storage.k8s.io/fstype", "zfs", []string{`fs_type: "zfs"`, "ext4, xfs, btrfs"}},
	"target":              {"target", "elsewhere", []string{`parameters["target"]: "elsewhere"`, "allowed: target"}},
	"pool":                {"pool", "slow", []string{`parameters["pool"]: "slow"`, "target/fast"}},
}

// The claim says what is wrong with its class, and no volume is made.
func TestClass(t *testing.T) {
	e := clusterenv.Shared(t)
	for name, m := range mistakes {
		parameters := map[string]string{"interfaces": "san-a,san-b"}
		parameters[m.key] = m.value
		class := e.Class(name, clusterenv.Class{Parameters: parameters, Immediate: true})
		e.Apply(clusterenv.Claim{Name: name, Class: class}.Manifest())
	}
	for name, m := range mistakes {
		e.Told("persistentvolumeclaim/"+name, append(m.words, "ProvisioningFailed", "InvalidArgument", "is refused; allowed")...)
	}
	if bound := e.Kubectl("get", "persistentvolumeclaims", "-o", "jsonpath={.items[*].spec.volumeName}"); bound != "" {
		t.Errorf("volumes were made: %s", bound)
	}
	e.Kubectl("delete", "persistentvolumeclaims", "--all", "--timeout="+clusterenv.Limit.String())
}

// With WaitForFirstConsumer it is the scheduler that looks first. It must not take a wrong class for a full pool.
func TestClassOfPod(t *testing.T) {
	e := clusterenv.Shared(t)
	class := e.Class("class", clusterenv.Class{Parameters: map[string]string{"interfaces": "san-a,san-b", "minpaths": "2"}})
	e.Apply(clusterenv.Claim{Name: "data", Class: class}.Manifest(), clusterenv.Pod{Name: "pod", Claim: "data"}.Manifest())
	e.Told("persistentvolumeclaim/data", "ProvisioningFailed", `parameters: unknown key "minpaths"`, "minPaths")
	if text := e.Kubectl("describe", "pod/pod"); strings.Contains(text, "enough free storage") {
		t.Logf("before the class was looked at:\n%s", text)
	}
	e.Delete("pod/pod")
	e.Delete("persistentvolumeclaim/data")
}
