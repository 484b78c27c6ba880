package volume

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPolicy(t *testing.T) {
	t.Parallel()
	full := map[string]string{
		"pathSelector": "queue-length", "pathGroupingPolicy": "failover", "preferredInterface": "san-a", "noPathRetry": "90s",
		"failureDetection": "fast",
	}
	want := Policy{
		PathSelector: "queue-length", PathGroupingPolicy: "failover", PreferredInterface: "san-a", NoPathRetry: "1m30s", FailureDetection: "fast",
	}
	p, err := ParseParameters(full)
	if diff := cmp.Diff(want, p.Policy); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	kept, err := ParseAttributes(p.Policy.Attributes())
	if diff := cmp.Diff(want, kept); err != nil || diff != "" {
		t.Errorf("kept at the target: %v (-want +got):\n%s", err, diff)
	}
	got, err := ParsePublishContext(PublishContext{LUN: 7, Policy: kept}.Map())
	if diff := cmp.Diff(PublishContext{LUN: 7, Policy: want}, got); err != nil || diff != "" {
		t.Errorf("published: %v (-want +got):\n%s", err, diff)
	}
	for k := range p.Context().Map() {
		if _, ok := full[k]; ok {
			t.Errorf("%s is in the volume context, which never changes", k)
		}
	}
}

// TestStaticPolicy: of a static volume the context says it all; of others the context never changes, so it must not be there.
func TestStaticPolicy(t *testing.T) {
	t.Parallel()
	m := map[string]string{"iqn": "iqn.2026-11.io.example", "portals": "192.0.2.1", "lun": "7", "interfaces": "san-a,san-b"}
	for key, bad := range map[string]string{
		"pathSelector": "fastest", "pathGroupingPolicy": "x", "preferredInterface": "san-c", "noPathRetry": "1ms",
		"failureDetection": "slow",
	} {
		wrong := maps.Clone(m)
		wrong[key] = bad
		_, err := ParseContext(byHand, wrong)
		wantRefused(t, `volume_context["`+key+`"]`, bad, err)
	}
	delete(m, "lun")
	m["wwid"], m["pathSelector"] = "eui.0123456789abcdef", "round-robin"
	_, err := ParseContext(dynamic, m)
	wantRefused(t, "volume_context", "pathSelector", err)
}

func TestPolicyDefault(t *testing.T) {
	t.Parallel()
	for _, m := range []map[string]string{nil, {"failureDetection": "default"}} {
		p, err := ParseParameters(m)
		if err != nil || p.Policy != (Policy{}) || len(p.Policy.Attributes()) != 0 {
			t.Errorf("%v: %+v, %v", m, p.Policy, err)
		}
	}
	if m := (PublishContext{LUN: 1}).Map(); !maps.Equal(m, map[string]string{"lun": "1"}) {
		t.Errorf("publish context is %v", m)
	}
}

func TestMutableParameters(t *testing.T) {
	t.Parallel()
	have := Policy{PathSelector: "round-robin", PreferredInterface: "san-a"}
	for _, c := range []struct {
		change map[string]string
		want   Policy
	}{
		{nil, have},
		{map[string]string{"noPathRetry": "fail"}, Policy{PathSelector: "round-robin", PreferredInterface: "san-a", NoPathRetry: "fail"}},
		{map[string]string{"preferredInterface": "san-b"}, Policy{PathSelector: "round-robin", PreferredInterface: "san-b"}},
		{map[string]string{"preferredInterface": "", "pathSelector": ""}, Policy{}},
		{
			map[string]string{"preferredInterface": "", "pathGroupingPolicy": "multibus"},
			Policy{PathSelector: "round-robin", PathGroupingPolicy: "multibus"},
		},
		{
			map[string]string{"pathGroupingPolicy": "group_by_prio"},
			Policy{PathSelector: "round-robin", PreferredInterface: "san-a", PathGroupingPolicy: "group_by_prio"},
		},
	} {
		got, err := ParseMutableParameters(have, c.change)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%v: %v (-want +got):\n%s", c.change, err, diff)
		}
	}
	_, err := ParseMutableParameters(have, map[string]string{"pathGroupingPolicy": "multibus"})
	wantRefused(t, `mutable_parameters["pathGroupingPolicy"]`, "multibus", err)
	have = Policy{FailureDetection: "fast"}
	for _, back := range []string{"default", ""} {
		got, err := ParseMutableParameters(have, map[string]string{"failureDetection": back})
		if err != nil || got != (Policy{}) {
			t.Errorf("%q: %+v, %v", back, got, err)
		}
	}
}

func TestPolicyRefused(t *testing.T) {
	t.Parallel()
	bad := map[string][]string{
		"pathSelector":       append([]string{"Round-Robin", "service-time 0", "historical-service-time"}, hostile...),
		"pathGroupingPolicy": append([]string{"group_by_serial", "MULTIBUS"}, hostile...),
		"preferredInterface": append([]string{"San-a", "san-a,san-b", "-a", "eth0:1"}, hostile...),
		"failureDetection":   append([]string{"Fast", "tolerant", "1s", "fast "}, hostile...),
		"noPathRetry": append([]string{
			"0", "12", "-1s", "4s", "25h", "1.5s", "30", "Queue", "queue ", "30s\n", "5m ", "99999999999999999999s",
		}, hostile...),
	}
	for key, values := range bad {
		for _, v := range values {
			if v == "" {
				continue // The default.
			}
			_, err := ParseParameters(map[string]string{key: v})
			wantRefused(t, `parameters["`+key+`"]`, v, err)
			_, err = ParseMutableParameters(Policy{}, map[string]string{key: v})
			wantRefused(t, `mutable_parameters["`+key+`"]`, v, err)
			_, err = ParsePublishContext(map[string]string{"lun": "1", key: v})
			wantRefused(t, `publish_context["`+key+`"]`, v, err)
		}
	}
	_, err := ParseMutableParameters(Policy{}, map[string]string{"minPaths": "2"})
	wantRefused(t, "mutable_parameters", "minPaths", err)
}

func TestCheckInterface(t *testing.T) {
	t.Parallel()
	p := Policy{PreferredInterface: "san-b"}
	for _, c := range []struct {
		used, known []string
		fine        bool
	}{
		{nil, nil, true},
		{[]string{"san-a", "san-b"}, nil, true},
		{nil, []string{"san-a", "san-b"}, true},
		{[]string{"san-a"}, []string{"san-a", "san-b"}, false},
		{nil, []string{"san-a"}, false},
	} {
		err := p.CheckInterface("parameters", c.used, c.known)
		if c.fine && err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if !c.fine {
			wantRefused(t, `parameters["preferredInterface"]`, "san-b", err)
		}
	}
	if err := (Policy{}).CheckInterface("parameters", []string{"san-a"}, nil); err != nil {
		t.Error(err)
	}
}

func FuzzPolicy(f *testing.F) {
	for _, h := range hostile {
		f.Add(h, h, h, h, h)
	}
	f.Add("round-robin", "failover", "san-a", "30s", "fast")
	f.Fuzz(func(t *testing.T, selector, grouping, preferred, retry, detection string) {
		p, err := ParseMutableParameters(Policy{}, map[string]string{
			"pathSelector": selector, "pathGroupingPolicy": grouping, "preferredInterface": preferred, "noPathRetry": retry,
			"failureDetection": detection,
		})
		if err != nil {
			return
		}
		again, err := ParseAttributes(p.Attributes())
		if err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}
