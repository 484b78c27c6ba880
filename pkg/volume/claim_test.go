package volume

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func claimMetadata(namespace, name, pv string) map[string]string {
	return map[string]string{
		"csi.storage.k8s.io/pvc/namespace": namespace, "csi.storage.k8s.io/pvc/name": name, "csi.storage.k8s.io/pv/name": pv,
	}
}

// TestClaimTravels follows a claim from the provisioner's parameters to the context that a node gets.
func TestClaimTravels(t *testing.T) {
	t.Parallel()
	want := Claim{Namespace: "shop", Name: "data-db-0.x", Volume: "pvc-7f1c"}
	p, err := ParseParameters(claimMetadata(want.Namespace, want.Name, want.Volume))
	if err != nil {
		t.Fatal(err)
	}
	c := p.Context()
	c.IQN, c.Portals, c.WWID = "iqn.2026-11.io.example", portals("192.0.2.1:3260"), "eui.0123456789abcdef"
	got, err := ParseContext(dynamic, c.Map())
	if diff := cmp.Diff(want, got.Claim); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestClaimUnknown(t *testing.T) {
	t.Parallel()
	for _, m := range []map[string]string{nil, claimMetadata("", "data", "pv"), claimMetadata("shop", "", "pv")} {
		p, err := ParseParameters(m)
		if err != nil || p.Claim != (Claim{}) {
			t.Errorf("%v became %+v, %v", m, p.Claim, err)
		}
		for k, v := range p.Context().Map() {
			if isMetadata(k) {
				t.Errorf("half a claim is carried on: %s=%s", k, v)
			}
		}
	}
}

func TestClaimRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 254)
	for _, bad := range append([]string{"A", "-a", "a-", "a..b", ".a", "a.", "a_b", "a/b", "ä", long}, hostile...) {
		if bad == "" {
			continue // absent
		}
		_, err := ParseParameters(claimMetadata(bad, "data", "pv"))
		wantRefused(t, `parameters["csi.storage.k8s.io/pvc/namespace"]`, bad, err)
		_, err = ParseParameters(claimMetadata("shop", bad, "pv"))
		wantRefused(t, `parameters["csi.storage.k8s.io/pvc/name"]`, bad, err)
		m := claimMetadata("shop", "data", bad)
		maps.Copy(m, map[string]string{"iqn": "iqn.2026-11.io.example", "portals": "192.0.2.1", "wwid": "eui.0123456789abcdef"})
		_, err = ParseContext(dynamic, m)
		wantRefused(t, `volume_context["csi.storage.k8s.io/pv/name"]`, bad, err)
	}
	_, err := ParseParameters(claimMetadata("a.b", "data", ""))
	wantRefused(t, `parameters["csi.storage.k8s.io/pvc/namespace"]`, "a.b", err)
}

func FuzzClaim(f *testing.F) {
	for _, h := range hostile {
		f.Add(h, "data", "pvc-1")
		f.Add("shop", h, h)
	}
	f.Fuzz(func(t *testing.T, namespace, name, pv string) {
		p, err := ParseParameters(claimMetadata(namespace, name, pv))
		if err != nil {
			return
		}
		for k, v := range p.Context().Map() {
			if isMetadata(k) && (len(v) > maxObjectName || strings.Trim(v, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "") {
				t.Errorf("%s carries %q", k, v)
			}
		}
	})
}
