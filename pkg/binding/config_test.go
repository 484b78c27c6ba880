package binding

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestConfig(t *testing.T) {
	got, err := parseConfig([]byte(`
interfaces:
- name: san-a
  netdev: eth2
- {name: san-b, mac: "02:00:5E:10:00:01"}
- {name: san-b, cidr: 192.0.2.0/24}
- {name: san-c, pci: "0000:3b:00.1", nodeSelector: {node.example.com/rack: r1, gpu: ""}}
- {name: san-c, driver: mlx5_core}
- {name: san-d, netdev: "enp*s0f[01]"}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{Interfaces: []InterfaceConfig{
		{Name: "san-a", NetDev: "eth2"},
		{Name: "san-b", MAC: "02:00:5E:10:00:01"},
		{Name: "san-b", CIDR: "192.0.2.0/24"},
		{Name: "san-c", PCI: "0000:3b:00.1", NodeSelector: map[string]string{"node.example.com/rack": "r1", "gpu": ""}},
		{Name: "san-c", Driver: "mlx5_core"},
		{Name: "san-d", NetDev: "enp*s0f[01]"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigRefuses(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"empty", ``, "interfaces: empty"},
		{"no name", `interfaces: [{netdev: eth0}]`, `interface name ""`},
		{"bad name", `interfaces: [{name: San_A, netdev: eth0}]`, "want 1 to 32 of a-z 0-9 -"},
		{"long name", `interfaces: [{name: ` + strings.Repeat("a", 33) + `, netdev: eth0}]`, "want 1 to 32"},
		{"hostile name", `interfaces: [{name: "../x", netdev: eth0}]`, "want 1 to 32"},
		{"no criterion", `interfaces: [{name: a}]`, "want exactly one of netdev, mac, cidr, pci and driver, got 0"},
		{"two criteria", `interfaces: [{name: a, netdev: eth0, cidr: 192.0.2.0/24}]`, "got 2"},
		{"bad netdev", `interfaces: [{name: a, netdev: "eth0\nx"}]`, "want the name of a network device"},
		{"long netdev", `interfaces: [{name: a, netdev: abcdefghijklmnop}]`, "at most 15 characters"},
		{"leading dash", `interfaces: [{name: a, netdev: -eth0}]`, "netdev"},
		{"bad mac", `interfaces: [{name: a, mac: "02:00"}]`, "want six hexadecimal pairs"},
		{"bad cidr", `interfaces: [{name: a, cidr: 192.0.2.0}]`, "want a subnet"},
		{"host bits", `interfaces: [{name: a, cidr: 192.0.2.1/24}]`, "without host bits"},
		{"all addresses", `interfaces: [{name: a, cidr: 0.0.0.0/0}]`, "want a subnet"},
		{"bad pattern", `interfaces: [{name: a, netdev: "eth[0-"}]`, `netdev "eth[0-": want the name`},
		{"hostile pattern", `interfaces: [{name: a, netdev: "../*"}]`, "netdev"},
		{"bad pci", `interfaces: [{name: a, pci: "3b:00"}]`, `pci "3b:00": want a PCI address, such as 0000:3b:00.1`},
		{"bad driver", `interfaces: [{name: a, driver: "mlx5 core"}]`, `driver "mlx5 core": want the name of a kernel driver`},
		{"pci and driver", `interfaces: [{name: a, pci: "3b:00.0", driver: mlx5_core}]`, "got 2"},
		{"bad label", `interfaces: [{name: a, netdev: eth0, nodeSelector: {"a b": c}}]`, `nodeSelector "a b": "c": want labels`},
		{"pci twice", `interfaces: [{name: a, pci: "3b:00.0"}, {name: a, pci: "0000:3B:00.0"}]`, "interfaces[1]"},
		{"twice", `interfaces: [{name: a, mac: "02:00:5E:10:00:01"}, {name: a, mac: "02-00-5e-10-00-01"}]`, "interfaces[1]"},
		{"second of two", `interfaces: [{name: a, netdev: eth0}, {name: b}]`, "interfaces[1]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseConfig([]byte(test.yaml))
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("interfaces:\n- {name: san-a, netdev: eth2}"))
	f.Add([]byte("interfaces:\n- {name: san-a, cidr: 2001:db8::/64}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			return
		}
		if r := Resolve(c, nil); len(r.Interfaces) != 0 || len(r.Problems) != len(c.names()) {
			t.Errorf("%q: got %+v", data, r)
		}
	})
}

// parseConfig reads YAML as the node plugin's configuration is read.
func parseConfig(data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, err
	}
	return c, c.Validate()
}
