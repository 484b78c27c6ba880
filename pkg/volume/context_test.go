package volume

import (
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
)

var (
	dynamic = ID{Target: "t", Pool: "p", Name: "n"}
	byHand  = ID{Target: StaticTarget, Name: "n"}
)

func portals(s ...string) (out []netip.AddrPort) {
	for _, p := range s {
		out = append(out, netip.MustParseAddrPort(p))
	}
	return out
}

func compareAddrPorts(a, b netip.AddrPort) bool { return a == b }

func TestContextRoundTrip(t *testing.T) {
	t.Parallel()
	seven := 7
	for name, c := range map[string]struct {
		id   ID
		want Context
	}{
		"full": {dynamic, Context{
			IQN: "iqn.2026-11.io.example:t1", Portals: portals("192.0.2.1:3260", "[2001:db8::1]:3261"),
			WWID:       "naa.6001405" + strings.Repeat("0", 25),
			Interfaces: []string{"san-a", "san-b"}, Pairing: binding.PairingFabric, MinPaths: 2, FSType: "xfs",
			Claim:    Claim{Namespace: "shop", Name: "data", Volume: "pvc-1"},
			Metadata: claimMetadata("shop", "data", "pvc-1"),
		}},
		"least": {dynamic, Context{
			IQN: "iqn.2026-11.io.example", Portals: portals("192.0.2.1:3260"), WWID: "eui.0123456789abcdef",
			Pairing: binding.PairingAuto, MinPaths: 1,
		}},
		"static": {byHand, Context{
			IQN: "naa.6001405000000000", Portals: portals("192.0.2.1:3260"), LUN: &seven, Pairing: binding.PairingMesh, MinPaths: 1,
		}},
		"static with a policy": {byHand, Context{
			IQN: "iqn.2026-11.io.example", Portals: portals("192.0.2.1:3260"), LUN: &seven, Pairing: binding.PairingAuto, MinPaths: 1,
			Interfaces: []string{"san-a", "san-b"},
			Policy:     Policy{PathSelector: "round-robin", PreferredInterface: "san-b", NoPathRetry: "5m0s"},
		}},
		"static with a T10 id": {byHand, Context{
			IQN: "iqn.2026-11.io.example", Portals: portals("192.0.2.1:3260"), LUN: &seven, WWID: "t10.ATA     DISK 1",
			Pairing: binding.PairingMesh, MinPaths: 1,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseContext(c.id, c.want.Map())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.Comparer(compareAddrPorts)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestContextForms(t *testing.T) {
	t.Parallel()
	got, err := ParseContext(byHand, map[string]string{
		"iqn": "IQN.2026-11.IO.Example:T1", "portals": "192.0.2.1,2001:db8::1", "lun": "0", "wwid": "naa.6001405ABCDEF012",
		"storage.kubernetes.io/csiProvisionerIdentity": "x", "csi.storage.k8s.io/pod.name": "y",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.IQN != "iqn.2026-11.io.example:t1" || joinPortals(got.Portals) != "192.0.2.1:3260,[2001:db8::1]:3260" ||
		got.WWID != "naa.6001405abcdef012" || len(got.Metadata) != 2 {
		t.Errorf("parsed %+v", got)
	}
}

func TestContextRefused(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"iqn": "iqn.2026-11.io.example:t1", "portals": "192.0.2.1:3260", "wwid": "naa.6001405000000000",
		"interfaces": "san-a", "pairing": "auto", "minPaths": "1", "fsType": "ext4",
	}
	bad := map[string][]string{
		"iqn": append([]string{"", "iqn", "iqn.2026-13.io.example", "iqn.2026-11.io.example:a_b"}, hostile...),
		"portals": append([]string{
			"", "192.0.2.1:0", "192.0.2.1:99999", "host:3260", "0.0.0.0", "fe80::1%eth0", "192.0.2.1,192.0.2.1", "192.0.2.1,",
		}, hostile...),
		"wwid": append([]string{"", "naa.", "naa.600140", "naa.6001405/00000000", "t10.", "t10.a/b", "t10.a\nb", "3600"}, hostile...),
		"interfaces": append([]string{
			"san-a,", ",", "san-a,san-a", "San", "a.b", "-a", strings.Repeat("a", 33), strings.Repeat("a,", 40),
		}, without(hostile, "a,b")...),
		"pairing":  append([]string{"Auto", "all"}, hostile...),
		"minPaths": append([]string{"0", "-1", "+1", "01", "1.0", "65", "2", "99999999999999999999"}, hostile...),
		"fsType":   append([]string{"ext3", "EXT4", "ntfs"}, hostile...),
		"unknown":  {"x"},
		"lun":      {"0"},
	}
	for key, values := range bad {
		for _, v := range values {
			m := maps.Clone(good)
			m[key] = v
			_, err := ParseContext(dynamic, m)
			wantRefused(t, "volume_context", key+"="+v, err)
		}
	}
	delete(good, "wwid")
	for _, lun := range append([]string{"", "-1", "65536", "0x1", "00"}, hostile...) {
		good["lun"] = lun
		_, err := ParseContext(byHand, good)
		wantRefused(t, `volume_context["lun"]`, lun, err)
		_, err = ParsePublishContext(map[string]string{"lun": lun})
		wantRefused(t, `publish_context["lun"]`, lun, err)
	}
}

// without drops what is hostile elsewhere but valid here.
func without(all []string, valid string) (out []string) {
	for _, s := range all {
		if s != valid {
			out = append(out, s)
		}
	}
	return out
}

func TestPublishContextRoundTrip(t *testing.T) {
	t.Parallel()
	for _, lun := range []int{0, 1, 255, 256, 16383, MaxLUN} {
		got, err := ParsePublishContext(PublishContext{LUN: lun}.Map())
		if err != nil || got.LUN != lun {
			t.Errorf("LUN %d became %+v, %v", lun, got, err)
		}
	}
	_, err := ParsePublishContext(map[string]string{"lun": "1", "x": "y"})
	wantRefused(t, "publish_context", "x", err)
}

func FuzzParseContext(f *testing.F) {
	f.Add("iqn.2026-11.io.example:t1", "192.0.2.1:3260,[2001:db8::1]:3260", "naa.6001405000000000", "san-a,san-b", "2", "7", true)
	for _, h := range hostile {
		f.Add(h, h, h, h, h, h, false)
	}
	f.Fuzz(func(t *testing.T, iqn, portals, wwid, interfaces, minPaths, lun string, static bool) {
		m := map[string]string{"iqn": iqn, "portals": portals, "wwid": wwid, "interfaces": interfaces, "minPaths": minPaths}
		id := dynamic
		if static {
			id, m["lun"] = byHand, lun
		}
		c, err := ParseContext(id, m)
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Errorf("unfit error text: %q", err)
			}
			return
		}
		again, err := ParseContext(id, c.Map())
		if err != nil {
			t.Fatalf("%v does not parse again: %v", c.Map(), err)
		}
		if diff := cmp.Diff(c, again, cmp.Comparer(compareAddrPorts)); diff != "" {
			t.Errorf("changed by a round trip:\n%s", diff)
		}
		for k, v := range c.Map() {
			if strings.ContainsAny(v, "\n\r\x00") || strings.Contains(v, "..") && k != keyWWID {
				t.Errorf("%s carries %q", k, v)
			}
		}
	})
}

func TestParameters(t *testing.T) {
	t.Parallel()
	got, err := ParseParameters(map[string]string{
		"target": "stor1", "pool": "fast", "interfaces": "san-a,san-b", "pairing": "mesh", "minPaths": "2", "fsType": "btrfs",
		"csi.storage.k8s.io/pvc/name": "data",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Parameters{
		Target: "stor1", Pool: "fast", Interfaces: []string{"san-a", "san-b"}, Pairing: binding.PairingMesh, MinPaths: 2, FSType: "btrfs",
		Metadata: map[string]string{"csi.storage.k8s.io/pvc/name": "data"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	none, err := ParseParameters(nil)
	if diff := cmp.Diff(Parameters{Pairing: binding.PairingAuto, MinPaths: 1}, none); err != nil || diff != "" {
		t.Errorf("defaults: %v\n%s", err, diff)
	}
	if err := got.CheckPaths(1); err != nil {
		t.Errorf("2 paths of 2 interfaces and 1 portal: %v", err)
	}
	got.MinPaths = 3
	wantRefused(t, `parameters["minPaths"]`, "3", got.CheckPaths(1))
	none.MinPaths = 64
	if err := none.CheckPaths(1); err != nil {
		t.Errorf("interfaces are the node's: %v", err)
	}
}

func TestParametersRefused(t *testing.T) {
	t.Parallel()
	for key, values := range map[string][]string{
		"target": append([]string{"static", "Stor1"}, hostile...), "pool": hostile, "pairing": {"x"}, "minPaths": {"-1", "0", "x"},
		"fsType": {"vfat"}, "interfaces": {"a b", "eth0:1"}, "Target": {"x"}, "minpaths": {"1"}, "password": {"hunter2"},
		strings.Repeat("k", 10<<10): {"x"}, "a\nb": {"x"}, "": {"x"},
	} {
		for _, v := range values {
			_, err := ParseParameters(map[string]string{key: v})
			wantRefused(t, "parameters", key+"="+v, err)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the value of an unknown key is repeated: %v", err)
			}
		}
	}
	_, err := ParseParameters(map[string]string{"minpaths": "1"})
	for _, key := range []string{"minpaths", "minPaths", "interfaces", "target"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%v does not name %s", err, key)
		}
	}
	if _, err := ParseSnapshotParameters(map[string]string{"csi.storage.k8s.io/volumesnapshot/name": "x"}); err != nil {
		t.Error(err)
	}
	_, err = ParseSnapshotParameters(map[string]string{"x": "y"})
	wantRefused(t, "parameters", "x", err)
}

func TestSize(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		required, limit, least int64
		want                   Size
		refused                string
	}{
		"nothing asked":         {want: Size{}},
		"plain":                 {required: 1 << 30, least: mib, want: Size{Required: 1 << 30}},
		"raised to the least":   {required: 1, least: mib, want: Size{Required: mib}},
		"limit at the least":    {required: 1, limit: mib, least: mib, want: Size{Required: mib, Limit: mib}},
		"negative":              {required: -1, refused: "capacity_range.required_bytes"},
		"negative limit":        {limit: -1, refused: "capacity_range.limit_bytes"},
		"limit below required":  {required: 2, limit: 1, refused: "capacity_range.limit_bytes"},
		"limit below the least": {limit: mib - 1, least: mib, refused: "capacity_range.limit_bytes"},
		"more than any volume":  {required: MaxBytes + 1, refused: "capacity_range.required_bytes"},
	} {
		got, err := ParseSize(c.required, c.limit, c.least)
		if c.refused != "" {
			wantRefused(t, c.refused, name+strconv.FormatInt(c.required, 10), err)
		} else if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
