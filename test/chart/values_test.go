package chart

import (
	"os"
	"strings"
	"testing"
)

// A bad value is refused before anything is installed, with its name.
func TestRefusals(t *testing.T) {
	class := func(set string) string { return "storageClasses[0].name=san,storageClasses[0]." + set }
	target := func(set string) string {
		return "targets[0].name=t1,targets[0].endpoint=h:1,targets[0].tlsSecret=s," + set
	}
	for _, c := range []struct{ name, set, want string }{
		{"no interfaces", "interfaces=null", "interfaces"},
		{"unknown value", "nodes.logLevel=1", "'nodes' not allowed"},
		{"unknown value within", "node.loglevel=1", "'/node': additional properties 'loglevel'"},
		{"interface's name", "interfaces[0].name=San_A,interfaces[0].netdev=eth0", "/interfaces/0/name"},
		{"two ways to find a NIC", "interfaces[0].netdev=eth0,interfaces[0].cidr=192.0.2.0/24", "/interfaces/0"},
		{"no way to find a NIC", "interfaces[1].name=b", "/interfaces/1"},
		{"PCI address", "interfaces[0].name=a,interfaces[0].pci=3b:00", "/interfaces/0/pci"},
		{"portal", "portals[0]=storage1:3260", "/portals/0"},
		{"MAC", "interfaces[0].name=a,interfaces[0].mac=02:00", "/interfaces/0/mac"},
		{"reserved target", target("targets[0].name=static"), "/targets/0/name"},
		{"endpoint without port", target("targets[0].endpoint=storage1"), "/targets/0/endpoint"},
		{"target without Secret", "targets[0].name=t1,targets[0].endpoint=h:1", "tlsSecret"},
		{"target twice", target("targets[1].name=t1,targets[1].endpoint=h:2,targets[1].tlsSecret=s"), "targets[1].name"},
		{"unknown parameter", class("parameters.iface=san-a"), "/storageClasses/0/parameters': additional properties 'iface'"},
		{"pairing", class("parameters.pairing=full"), "/storageClasses/0/parameters/pairing"},
		{"minPaths", class("parameters.minPaths=0"), "/storageClasses/0/parameters/minPaths"},
		{"file system", class("parameters.fsType=ntfs"), "/storageClasses/0/parameters/fsType"},
		{"failure detection", class("parameters.failureDetection=slow"), "/storageClasses/0/parameters/failureDetection"},
		{
			"time without a path", "volumeAttributesClasses[0].name=a,volumeAttributesClasses[0].parameters.noPathRetry=forever",
			"/volumeAttributesClasses/0/parameters/noPathRetry",
		},
		{
			"what cannot be changed", "volumeAttributesClasses[0].name=a,volumeAttributesClasses[0].parameters.minPaths=2",
			"/volumeAttributesClasses/0/parameters': additional properties 'minPaths'",
		},
		{"class with another's interface", class("parameters.interfaces={san-z}"), `storageClasses[0] (san).parameters.interfaces: "san-z"`},
		{"class with another's target", class("parameters.target=t9"), `storageClasses[0] (san).parameters.target: "t9"`},
		{"secret without name", class("chapSecret.namespace=x"), "/storageClasses/0/chapSecret': missing property 'name'"},
		{"binding mode", class("volumeBindingMode=Later"), "/storageClasses/0/volumeBindingMode"},
		{
			"topology that is not the driver's", class("allowedTopologies[0].matchLabelExpressions[0].key=zone"),
			"/storageClasses/0/allowedTopologies/0/matchLabelExpressions/0/key",
		},
		{"duration", "sidecars.attacher.timeout=2", "/sidecars/attacher/timeout"},
		{"a probe that never times out", "node.livenessProbe.timeoutSeconds=0", "/node/livenessProbe/timeoutSeconds"},
		{"a probe without its timeout", "node.livenessProbe.timeoutSeconds=null", "/node/livenessProbe"},
		{"no probe", "controller.readinessProbe=null", "controller"},
		{"another way to probe", "controller.readinessProbe.tcpSocket.port=1", "/controller/readinessProbe"},
		{"replicas", "controller.replicas=0", "/controller/replicas"},
		{"distribution", "distribution=beos", "/distribution"},
		{"relative path", "host.kubeletDir=var/lib/kubelet", "/host/kubeletDir"},
		{"initiator", "initiatorName=IQN", "/initiatorName"},
		{"pull policy", "image.pullPolicy=Sometimes", "/image/pullPolicy"},
		{"digest", "image.digest=sha256:1", "/image/digest"},
		{"allocatable period", "csiDriver.nodeAllocatableUpdatePeriodSeconds=5", "/csiDriver/nodeAllocatableUpdatePeriodSeconds"},
		{"strategy of a DaemonSet", "controller.updateStrategy.type=OnDelete", "controller.updateStrategy.type"},
		{"strategy of a Deployment", "node.updateStrategy.type=Recreate", "node.updateStrategy.type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := template(t, append(values(minimal), "--set", c.set)...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("--set %s: want a refusal that says %q, got: %v", c.set, c.want, err)
			}
		})
	}
}

// The reference names every value.
func TestReference(t *testing.T) {
	raw, err := os.ReadFile("../../docs/helm.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths("", defaults(t)) {
		// The sidecars have the same values; they are described once.
		if w := strings.Split(path, "."); w[0] == "sidecars" && len(w) > 2 {
			path = "sidecars.*." + strings.Join(w[2:], ".")
		}
		if !strings.Contains(string(raw), "`"+path+"`") && !strings.Contains(string(raw), "`"+path+".") {
			t.Errorf("docs/helm.md does not name `%s`", path)
		}
	}
}

// open are values whose inside is Kubernetes' own.
var open = map[string]bool{
	"resources": true, "nodeSelector": true, "updateStrategy": true, "affinity": true, "image": true, "serviceMonitor": true,
	"prometheusRule": true, "dashboard": true,
	"podDisruptionBudget": true, "leaseProbe": true,
}

func paths(prefix string, v map[string]any) []string {
	var all []string
	for key, value := range v {
		inner, ok := value.(map[string]any)
		if !ok || len(inner) == 0 || open[key] {
			all = append(all, prefix+key)
			continue
		}
		all = append(all, paths(prefix+key+".", inner)...)
	}
	return all
}
