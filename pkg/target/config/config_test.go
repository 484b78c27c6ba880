package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

const minimal = `iqn: iqn.2026-11.com.example:storage-1
portals: ["10.0.0.1:3260", "[fd00::1]:3260"]
pools: [{name: fast, vg: vg0, thinPool: pool}]
`

func TestDefaults(t *testing.T) {
	c, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	if !c.CHAPRequired() || c.Listen != ":9760" || c.Health != "127.0.0.1:9761" || c.Pools[0].RefuseAbove != (Thresholds{95, 90}) ||
		c.Pools[0].WarnAbove != (Thresholds{85, 80}) ||
		len(c.PortalAddrs()) != 2 || c.StateDir != "/var/lib/portbind-targetd" {
		t.Errorf("got %+v", c)
	}
}

// TestWarnAboveFollowsRefuseAbove: whoever refuses early is warned no later.
func TestWarnAboveFollowsRefuseAbove(t *testing.T) {
	c, err := Parse([]byte(strings.Replace(minimal, "thinPool: pool", "thinPool: pool, refuseAbove: {data: 70}, warnAbove: {metadata: 50}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Pools[0].WarnAbove; got != (Thresholds{70, 50}) {
		t.Errorf("got %+v", got)
	}
}

// TestExample: what is installed parses.
func TestExample(t *testing.T) {
	data, err := os.ReadFile("../../../deploy/targetd/config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(data); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	for field, text := range map[string]string{
		"iqn":                       strings.Replace(minimal, "iqn.2026-11", "iqn.2026-13", 1),
		"portals":                   strings.Replace(minimal, `["10.0.0.1:3260", "[fd00::1]:3260"]`, "[]", 1),
		"portals[0]":                strings.Replace(minimal, "10.0.0.1:3260", "0.0.0.0:3260", 1),
		"portals[1]":                strings.Replace(minimal, "[fd00::1]:3260", "10.0.0.1:3260", 1),
		"pools[0].vg":               strings.Replace(minimal, "vg: vg0", "vg: ../etc", 1),
		"pools[0].thinPool":         strings.Replace(minimal, "thinPool: pool", "thinPool: -f", 1),
		"pools[0].name":             strings.Replace(minimal, "name: fast", "name: Fast", 1),
		"pools[0].overcommit":       strings.Replace(minimal, "thinPool: pool", "thinPool: pool, overcommit: -1", 1),
		"pools[0].refuseAbove.data": strings.Replace(minimal, "thinPool: pool", "thinPool: pool, refuseAbove: {data: 101}", 1),
		"pools[0].warnAbove.data":   strings.Replace(minimal, "thinPool: pool", "thinPool: pool, warnAbove: {data: -1}", 1),
		"pools[0].warnAbove":        strings.Replace(minimal, "thinPool: pool", "thinPool: pool, warnAbove: {metadata: 91}", 1),
		"pools[1]":                  strings.Replace(minimal, "thinPool: pool}", "thinPool: pool}, {name: slow, vg: vg0, thinPool: pool}", 1),
		"health":                    minimal + "health: 10.0.0.1:9761\n",
		"listen":                    minimal + "listen: nowhere\n",
		"chap":                      minimal + "chap: none\n",
		"tls.key":                   minimal + "tls: {key: server.key}\n",
		"stateDir":                  minimal + "stateDir: state\n",
	} {
		_, err := Parse([]byte(text))
		var e *Error
		if !errors.As(err, &e) || e.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if _, err := Parse([]byte(minimal + "portal: x\n")); err == nil || !strings.Contains(err.Error(), "portal") {
		t.Errorf("unknown field: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		for _, s := range []string{c.IQN, c.Pools[0].VG, c.Pools[0].ThinPool, c.Pools[0].Name} {
			if s == "" || s == ".." || strings.ContainsAny(s, "/\n \x00") || strings.HasPrefix(s, "-") {
				t.Errorf("accepted %q", s)
			}
		}
	})
}
