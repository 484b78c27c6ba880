package driver

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
)

func TestParseNodeConfig(t *testing.T) {
	const nics = "interfaces: [{name: san-a, netdev: eth2}]\n"
	base := NodeConfig{
		Interfaces: []binding.InterfaceConfig{{Name: "san-a", NetDev: "eth2"}}, InitiatorName: "auto",
		StateDir: "/var/lib/portbind", SessionLinger: Duration(time.Minute), Timers: "fast", InstantFailover: true,
	}
	all := base
	all.InitiatorName, all.StateDir, all.SessionLinger, all.Timers = "iqn.2026-11.io.example:n", "/s", Duration(time.Second), "tolerant"
	all.ManageSysctls, all.NodeAnnotation, all.InstantFailover = true, true, false
	all.Portals = []string{"192.0.2.1", "[2001:db8::1]:3261"}
	tests := map[string]struct {
		text, bad string
		want      NodeConfig
	}{
		"defaults": {text: nics, want: base},
		"all": {
			text: nics + "initiatorName: iqn.2026-11.io.example:n\nstateDir: /s\nsessionLinger: 1s\ntimers: tolerant\n" +
				"portals: [192.0.2.1, \"[2001:db8::1]:3261\"]\nmanageSysctls: true\nnodeAnnotation: true\ninstantFailover: false\n",
			want: all,
		},
		"no interfaces":  {text: "{}", bad: "interfaces"},
		"unknown key":    {text: nics + "interface: []\n", bad: "unknown field"},
		"twice":          {text: nics + nics, bad: "already set"},
		"relative":       {text: nics + "stateDir: x\n", bad: "stateDir"},
		"initiator":      {text: nics + "initiatorName: ../x\n", bad: "initiatorName"},
		"linger":         {text: nics + "sessionLinger: -1s\n", bad: "sessionLinger"},
		"timers":         {text: nics + "timers: slow\n", bad: "timers"},
		"portal":         {text: nics + "portals: [192.0.2.1, storage1]\n", bad: `portals[1]: "storage1"`},
		"manageSysctls":  {text: nics + "manageSysctls: sometimes\n", bad: "manageSysctls"},
		"linger, number": {text: nics + "sessionLinger: 5\n", bad: "duration"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseNodeConfig([]byte(tc.text))
			if tc.bad != "" {
				if err == nil || !strings.Contains(err.Error(), tc.bad) {
					t.Errorf("got %v, want something about %s", err, tc.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
