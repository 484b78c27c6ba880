package binding

import (
	"errors"
	"strings"
	"testing"
)

// found is what a configuration resolves to: "name=nic ..."; names without a NIC are "name=".
func found(c Config, nics []NIC) string {
	r := Resolve(c, nics)
	var all []string
	for _, i := range r.Interfaces {
		all = append(all, i.Name+"="+i.NIC)
	}
	for _, p := range r.Problems {
		all = append(all, p.Interface+"=")
	}
	return strings.Join(all, " ")
}

func TestSelection(t *testing.T) {
	nics := node()
	nics[1].PCI, nics[1].Driver = "0000:3b:00.0", "mlx5_core"
	nics[2].PCI, nics[2].Driver = "0000:3b:00.1", "ice"
	nics[4].PCI, nics[4].Driver = "0000:5e:00.0", "mlx5_core" // in the bond
	tests := []struct {
		name, yaml string
		labels     map[string]string
		want       string
	}{
		{"pci", `[{name: a, pci: "3B:00.1"}]`, nil, "a=eth2"},
		{"pci of nobody", `[{name: a, pci: "0001:3b:00.1"}]`, nil, "a="},
		{"driver", `[{name: a, driver: mlx5_core}]`, nil, "a=eth1"},
		{"pattern", `[{name: a, netdev: "*2"}]`, nil, "a=eth2"},
		{"pattern of several", `[{name: a, netdev: "eth[1-4]"}]`, nil, "a="},
		{"pattern that finds a bond, not its ports", `[{name: a, netdev: "bond*"}]`, nil, "a=bond0"},
		{
			"the first that fits", `[{name: a, netdev: eth9}, {name: a, driver: ice}, {name: a, netdev: eth1}]`, nil, "a=eth2",
		},
		{
			"of a rack", `[{name: a, netdev: eth1, nodeSelector: {rack: r1}}, {name: a, netdev: eth2}]`,
			map[string]string{"rack": "r1", "x": "y"},
			"a=eth1",
		},
		{
			"of another rack", `[{name: a, netdev: eth1, nodeSelector: {rack: r1}}, {name: a, netdev: eth2}]`,
			map[string]string{"rack": "r2"},
			"a=eth2",
		},
		{
			"all labels count", `[{name: a, netdev: eth1, nodeSelector: {rack: r1, gpu: ""}}]`, map[string]string{"rack": "r1"}, "",
		},
		{
			"not on this node", `[{name: a, netdev: eth1}, {name: b, netdev: eth2, nodeSelector: {rack: r1}}]`, nil, "a=eth1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parseConfig([]byte("interfaces: " + tt.yaml))
			if err != nil {
				t.Fatal(err)
			}
			if got := found(c.On(tt.labels), nics); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOverride(t *testing.T) {
	c := Config{Interfaces: []InterfaceConfig{{Name: "a", NetDev: "eth9"}, {Name: "b", NetDev: "eth2"}, {Name: "a", NetDev: "eth2"}}}
	got, err := c.Override(`[{"name": "a", "mac": "02:00:00:00:00:01"}, {"name": "c", "netdev": "eth3"}]`)
	if err != nil || found(got, node()) != "a=eth1 c=eth3 b=eth2" {
		t.Errorf("got %q, %v", found(got, node()), err)
	}
	for text, want := range map[string]string{
		"": "interfaces: empty", "san-a=eth2": "want a list", "[{name: a}]": "interfaces[0]", "[{name: a, nic: eth2}]": `unknown field "nic"`,
		"[{name: a, netdev: eth2, nodeSelector: {b: c}}]": "nodeSelector",
	} {
		got, err := c.Override(text)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
		if found(got, node()) != found(c, node()) {
			t.Errorf("%q: the configuration has changed", text)
		}
	}
}

func TestDriversOfThisMachine(t *testing.T) {
	c := Config{Interfaces: []InterfaceConfig{{Name: "a", Driver: "nobodys"}}}
	nics, err := c.NICs()
	if err != nil {
		t.Skip("no rtnetlink here: ", err)
	}
	for _, nic := range nics {
		if nic.Kind == "veth" && nic.Driver != "veth" {
			t.Errorf("%+v", nic)
		}
	}
}

func FuzzOverride(f *testing.F) {
	f.Add("[{name: a, netdev: eth4}]")
	f.Add(`[{"name": "a", "pci": "0000:3b:00.1"}]`)
	base := Config{Interfaces: []InterfaceConfig{{Name: "b", NetDev: "eth2"}}}
	f.Fuzz(func(t *testing.T, list string) {
		c, err := base.Override(list)
		if err == nil {
			err = c.Validate()
		}
		if err != nil && !errors.Is(err, ErrConfig) {
			t.Error(err)
		}
	})
}
