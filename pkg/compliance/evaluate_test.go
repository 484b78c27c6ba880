package compliance

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func portals(texts ...string) (all []netip.AddrPort) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

func way(nic, addr string) Way { return Way{nic, netip.MustParseAddr(addr)} }

// good is a node with two storage ports in one subnet, as it should be, and a bond without a name.
func good() Snapshot {
	nics := []binding.NIC{
		{Name: "bond0", Kind: "bond", MTU: 1500, Addrs: prefixes("203.0.113.5/24"), Up: true, AdminUp: true, Mode: "active-backup", Hash: "layer2"},
		{Name: "eth2", Kind: "device", MTU: 9000, Addrs: prefixes("192.0.2.11/24", "2001:db8:1::11/64"), Up: true, AdminUp: true},
		{Name: "eth3.7", Kind: "vlan", MTU: 9000, Addrs: prefixes("192.0.2.12/24"), Up: true, AdminUp: true},
		{Name: "eth4", Kind: "device", Enslaved: true, Master: "bond0", MTU: 1500, Up: true, AdminUp: true},
		{Name: "eth5", Kind: "device", Enslaved: true, Master: "bond0", MTU: 1500, Up: true, AdminUp: true},
	}
	return Snapshot{
		Interfaces: binding.Resolve(binding.Config{Interfaces: []binding.InterfaceConfig{
			{Name: "san-a", NetDev: "eth2"}, {Name: "san-b", NetDev: "eth3.7"},
		}}, nics),
		Demands:     []Demand{{Portals: portals("192.0.2.1:3260", "192.0.2.2:3260"), Volume: true}},
		Sysctls:     map[string]Sysctls{"eth2": {2, 1, 2, 0}, "eth3.7": {0, 1, 2, 0}},
		Routed:      map[Way]bool{},
		Returns:     map[Way]bool{way("eth2", "192.0.2.11"): true, way("eth3.7", "192.0.2.12"): false},
		Strays:      map[Way]bool{},
		Unreachable: map[string]string{},
	}
}

// route has what comes from each NIC's address go through that NIC.
func (s *Snapshot) route() {
	s.Returns[way("eth3.7", "192.0.2.12")] = true
	s.Strays[way("eth2", "192.0.2.12")], s.Strays[way("eth3.7", "192.0.2.11")] = false, false
}

// configure resolves another configuration on the same NICs, after they were changed.
func (s *Snapshot) configure(change func(nics []binding.NIC), entries ...binding.InterfaceConfig) {
	nics := slices.Clone(s.Interfaces.NICs)
	if change != nil {
		change(nics)
	}
	if entries == nil {
		entries = []binding.InterfaceConfig{{Name: "san-a", NetDev: "eth2"}, {Name: "san-b", NetDev: "eth3.7"}}
	}
	s.Interfaces = binding.Resolve(binding.Config{Interfaces: entries}, nics)
}

func TestEvaluate(t *testing.T) {
	tests := []struct {
		name string
		when func(*Snapshot)
		want string   // the states, by interface
		says []string // of the first that is wrong
	}{
		{name: "as it should be", when: func(*Snapshot) {}, want: "san-a Compliant, san-b Compliant"},
		{
			name: "no such NIC",
			when: func(s *Snapshot) { s.configure(nil, binding.InterfaceConfig{Name: "san-a", NetDev: "eth9"}) },
			want: "san-a NoNIC", says: []string{"looked for netdev eth9", "ip -br link"},
		},
		{
			name: "two NICs in the subnet",
			when: func(s *Snapshot) { s.configure(nil, binding.InterfaceConfig{Name: "san-a", CIDR: "192.0.2.0/24"}) },
			want: "san-a NoNIC", says: []string{"several NICs fit: eth2, eth3.7", "one NIC only"},
		},
		{
			name: "two names",
			when: func(s *Snapshot) {
				s.configure(nil, binding.InterfaceConfig{Name: "san-a", NetDev: "eth2"}, binding.InterfaceConfig{Name: "san-b", NetDev: "eth2"})
			},
			want: "san-a Compliant, san-b DuplicateNIC", says: []string{"eth2", "no redundancy"},
		},
		{
			name: "drained, and its cable pulled",
			when: func(s *Snapshot) {
				s.configure(func(nics []binding.NIC) { nics[1].Up, nics[1].Addrs = false, nil })
				s.Interfaces.Drained = []string{"san-a"}
			},
			want: "san-a Drained, san-b Compliant", says: []string{"maintenance", "undrain san-a"},
		},
		{
			name: "no carrier, and no address either",
			when: func(s *Snapshot) {
				s.configure(func(nics []binding.NIC) { nics[1].Up, nics[1].Addrs = false, nil })
			},
			want: "san-a LinkDown, san-b Compliant", says: []string{"eth2 has no carrier", "cable"},
		},
		{
			name: "down",
			when: func(s *Snapshot) {
				s.configure(func(nics []binding.NIC) { nics[1].Up, nics[1].AdminUp = false, false })
			},
			want: "san-a LinkDown, san-b Compliant", says: []string{"administratively down", "ip link set eth2 up"},
		},
		{
			name: "no address",
			when: func(s *Snapshot) { s.configure(func(nics []binding.NIC) { nics[1].Addrs = nil }) },
			want: "san-a NoIP, san-b Compliant", says: []string{"eth2 has no address"},
		},
		{
			name: "port of a bond",
			when: func(s *Snapshot) { s.configure(nil, binding.InterfaceConfig{Name: "san-a", NetDev: "eth4"}) },
			want: "san-a NoIP", says: []string{"eth4 is a port of bond0", "Name bond0"},
		},
		{
			name: "other subnet, no route",
			when: func(s *Snapshot) { s.Demands[0].Portals = portals("198.51.100.1:3260") },
			want: "san-a WrongSubnet, san-b WrongSubnet", says: []string{"eth2 (192.0.2.11/24, 2001:db8:1::11/64)", "198.51.100.1:3260"},
		},
		{
			name: "other subnet, routed",
			when: func(s *Snapshot) {
				s.Demands[0].Portals = portals("198.51.100.1:3260")
				s.Routed[way("eth2", "198.51.100.1")], s.Routed[way("eth3.7", "198.51.100.1")] = true, true
			},
			want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "one portal of two is enough",
			when: func(s *Snapshot) { s.Demands[0].Portals = portals("198.51.100.1:3260", "192.0.2.1:3260") },
			want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "another interface's portal",
			when: func(s *Snapshot) {
				s.Demands = []Demand{{Interfaces: []string{"san-b"}, Portals: portals("198.51.100.1:3260")}}
			},
			want: "san-a Compliant, san-b WrongSubnet",
		},
		{
			name: "fabrics: an interface that is not named need not meet anybody",
			when: func(s *Snapshot) {
				s.Demands = []Demand{{Portals: portals("198.51.100.1:3260"), Pairing: binding.PairingFabric}}
			},
			want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "portals not known", when: func(s *Snapshot) { s.Demands = nil }, want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "IPv6 portal, one NIC without IPv6",
			when: func(s *Snapshot) { s.Demands[0].Portals = portals("[2001:db8:1::1]:3260") },
			want: "san-a Compliant, san-b WrongSubnet",
		},
		{
			name: "strict filter where the other NIC is the way back",
			when: func(s *Snapshot) { s.Sysctls["eth2"], s.Sysctls["eth3.7"] = Sysctls{1, 1, 2, 0}, Sysctls{1, 1, 2, 0} },
			want: "san-a Compliant, san-b FilteredByRPFilter",
			says: []string{"eth3.7 shares 192.0.2.0/24 with eth2", "net.ipv4.conf.eth3/7.rp_filter=2"},
		},
		{
			name: "strict filter, policy routing",
			when: func(s *Snapshot) {
				s.Sysctls["eth3.7"] = Sysctls{1, 1, 2, 0}
				s.Returns[way("eth3.7", "192.0.2.12")] = true
			},
			want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "strict filter, two subnets",
			when: func(s *Snapshot) {
				s.Sysctls = map[string]Sysctls{"eth2": {1, 0, 0, 0}, "eth3.7": {1, 0, 0, 0}}
				s.configure(func(nics []binding.NIC) { nics[2].Addrs = prefixes("198.51.100.12/24") })
				s.Demands = nil
			},
			want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "the other NIC of the subnet is no storage port",
			when: func(s *Snapshot) {
				s.configure(nil, binding.InterfaceConfig{Name: "san-a", NetDev: "eth2"})
				s.Sysctls["eth2"] = Sysctls{0, 0, 0, 0}
			},
			want: "san-a ARPFlux",
		},
		{
			name: "a single address is no subnet",
			when: func(s *Snapshot) {
				s.configure(func(nics []binding.NIC) { nics[2].Addrs = prefixes("192.0.2.12/32") },
					binding.InterfaceConfig{Name: "san-a", NetDev: "eth2"})
				s.Sysctls["eth2"] = Sysctls{0, 0, 0, 0}
			},
			want: "san-a Compliant",
		},
		{
			name: "ARP flux",
			when: func(s *Snapshot) { s.Sysctls["eth2"], s.Sysctls["eth3.7"] = Sysctls{2, 0, 2, 0}, Sysctls{2, 1, 0, 0} },
			want: "san-a ARPFlux, san-b ARPFlux",
			says: []string{"arp_ignore 0, arp_announce 2", "net.ipv4.conf.eth2.arp_ignore=1 net.ipv4.conf.eth2.arp_announce=2"},
		},
		{
			// What follows is what User-Mode Linux's kernel was seen to do. Both NICs filter, and eth2 is the way back of both addresses:
			// eth2 answers for both, and with arp_ignore nobody answers for eth3.7's.
			name: "arp_filter where the other NIC is the way back",
			when: func(s *Snapshot) { s.Sysctls["eth2"], s.Sysctls["eth3.7"] = Sysctls{2, 1, 2, 1}, Sysctls{2, 1, 2, 1} },
			want: "san-a Compliant, san-b ARPFlux",
			says: []string{"does not answer ARP for its own address", "net.ipv4.conf.eth3/7.arp_filter=0", "what comes from 192.0.2.12"},
		},
		{
			name: "arp_filter alone, without policy routing",
			when: func(s *Snapshot) {
				s.Sysctls["eth2"], s.Sysctls["eth3.7"] = Sysctls{2, 0, 2, 1}, Sysctls{2, 0, 2, 1}
				s.Strays[way("eth2", "192.0.2.12")] = true
			},
			want: "san-a ARPFlux, san-b ARPFlux", says: []string{"net.ipv4.conf.eth2.arp_ignore=1"},
		},
		{
			name: "arp_filter and policy routing",
			when: func(s *Snapshot) {
				s.Sysctls["eth2"], s.Sysctls["eth3.7"] = Sysctls{2, 0, 0, 1}, Sysctls{2, 0, 0, 1}
				s.route()
			},
			want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "policy routing alone",
			when: func(s *Snapshot) {
				s.Sysctls["eth2"], s.Sysctls["eth3.7"] = Sysctls{2, 0, 2, 0}, Sysctls{2, 1, 0, 0}
				s.route()
			},
			want: "san-a ARPFlux, san-b Compliant", says: []string{"arp_ignore 0, arp_announce 2"},
		},
		{
			name: "nothing known of sysctls", when: func(s *Snapshot) { s.Sysctls = nil }, want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "no portal answers",
			when: func(s *Snapshot) { s.Unreachable["san-b"] = "192.0.2.1:3260: i/o timeout" },
			want: "san-a Compliant, san-b NoPortalReachable", says: []string{"through eth3.7: 192.0.2.1:3260: i/o timeout", "ping -I eth3.7"},
		},
		{
			name: "MTUs differ",
			when: func(s *Snapshot) { s.configure(func(nics []binding.NIC) { nics[1].MTU = 1500 }) },
			want: "san-a MTUMismatch, san-b Compliant", says: []string{"eth2 has MTU 1500, eth3.7 (san-b) has 9000", "ip link set eth2 mtu 9000"},
		},
		{
			name: "MTUs differ between NICs that have nothing to do with each other",
			when: func(s *Snapshot) {
				s.configure(func(nics []binding.NIC) { nics[2].Addrs, nics[2].MTU = prefixes("198.51.100.12/24"), 1500 })
				s.Demands = nil
			},
			want: "san-a Compliant, san-b Compliant",
		},
		{
			name: "MTUs differ between fabrics of one volume",
			when: func(s *Snapshot) {
				s.configure(func(nics []binding.NIC) { nics[2].Addrs, nics[2].MTU = prefixes("198.51.100.12/24"), 1500 })
				s.Demands = []Demand{{Interfaces: []string{"san-a", "san-b"}, Portals: portals("192.0.2.1:3260", "198.51.100.1:3260")}}
			},
			want: "san-a Compliant, san-b MTUMismatch",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := good()
			tt.when(&s)
			all := Evaluate(s)
			var got []string
			var wrong *Finding
			for _, status := range all {
				got = append(got, status.Interface+" "+string(status.State()))
				if wrong == nil && len(status.Findings) > 0 {
					wrong = &status.Findings[0]
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Fatal(diff)
			}
			for _, text := range tt.says {
				if !strings.Contains(wrong.Message+" "+wrong.Fix, text) {
					t.Errorf("%+v does not say %q", wrong, text)
				}
			}
		})
	}
}

// A cause comes before what follows from it; all is there for who wants it.
func TestSeveralFindings(t *testing.T) {
	s := good()
	s.Sysctls["eth3.7"] = Sysctls{1, 0, 0, 0}
	s.Unreachable["san-b"] = "no answer"
	s.configure(func(nics []binding.NIC) { nics[2].MTU = 1500 })
	var got []State
	for _, f := range Evaluate(s)[1].Findings {
		got = append(got, f.State)
		if f.Message == "" || f.Fix == "" {
			t.Errorf("%+v", f)
		}
	}
	if diff := cmp.Diff([]State{FilteredByRPFilter, ARPFlux, NoPortalReachable, MTUMismatch}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBondIsNamed(t *testing.T) {
	s := good()
	s.configure(nil, binding.InterfaceConfig{Name: "san-a", NetDev: "bond0"})
	s.Demands = nil
	got := Evaluate(s)[0]
	for _, text := range []string{
		"bond0 is a bond (active-backup, transmit hash layer2) of eth4, eth5", "all sessions use the active port", "interfaces of their own",
	} {
		if !strings.Contains(got.Note, text) {
			t.Errorf("%q does not say %q", got.Note, text)
		}
	}
	if got.State() != Compliant {
		t.Errorf("a bond is accepted: %+v", got)
	}
}

func TestPresent(t *testing.T) {
	var absent []State
	for _, s := range States() {
		if !s.Present() {
			absent = append(absent, s)
		}
	}
	if diff := cmp.Diff([]State{NoNIC, DuplicateNIC, NoIP}, absent); diff != "" {
		t.Error(diff)
	}
}
