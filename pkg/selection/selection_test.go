package selection

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portbind/portbind/pkg/binding"
)

// api plays Kubernetes.
type api struct {
	facts Facts
	err   error
	told  func(Facts) // whom to tell of changes
}

func (a *api) node(context.Context) (Facts, error) { return a.facts, a.err }

func (a *api) follow(_ context.Context, told func(Facts)) { a.told = told }

func netdevs(s *Source) string {
	var all []string
	for _, i := range s.Config().Interfaces {
		all = append(all, i.NetDev)
	}
	return strings.Join(all, " ")
}

func TestSource(t *testing.T) {
	ctx := t.Context()
	a := &api{facts: Facts{Labels: map[string]string{"rack": "r1", "other": "x"}}}
	o := Options{
		Base: binding.Config{Interfaces: []binding.InterfaceConfig{
			{Name: "a", NetDev: "eth1", NodeSelector: map[string]string{"rack": "r1"}},
			{Name: "a", NetDev: "eth2", NodeSelector: map[string]string{"rack": "r2"}},
			{Name: "b", NetDev: "eth3"},
		}},
		Annotated: true, Node: a.node, Follow: a.follow, File: filepath.Join(t.TempDir(), "node.json"),
	}
	s, err := Open(ctx, o)
	if err != nil || netdevs(s) != "eth1 eth3" {
		t.Fatalf("got %v, %v", s, err)
	}
	changed := false
	s.Run(ctx, func() { changed = true })
	steps := []struct {
		name    string
		facts   Facts
		changed bool
		want    string
	}{
		{"nothing that matters", Facts{Labels: map[string]string{"rack": "r1", "other": "y"}}, false, "eth1 eth3"},
		{"another rack", Facts{Labels: map[string]string{"rack": "r2"}}, true, "eth2 eth3"},
		{"the same", Facts{Labels: map[string]string{"rack": "r2"}}, false, "eth2 eth3"},
		{"its own", Facts{
			Labels: map[string]string{"rack": "r2"}, Annotations: map[string]string{Annotation: "[{name: a, netdev: eth4}]", "x": "y"},
		}, true, "eth4 eth3"},
		{"wrong", Facts{
			Labels: map[string]string{"rack": "r2"}, Annotations: map[string]string{Annotation: "eth4"},
		}, true, "eth2 eth3"},
		{"no label", Facts{}, true, "eth3"},
	}
	for _, step := range steps {
		changed = false
		a.told(step.facts)
		if changed != step.changed || netdevs(s) != step.want {
			t.Errorf("%s: got %q, %v", step.name, netdevs(s), changed)
		}
	}
}

// A plugin that starts without the API server has what the one before had; the first one of all must have read the node.
func TestRemembered(t *testing.T) {
	ctx := t.Context()
	a := &api{err: errors.New("no route to host")}
	o := Options{
		Base: binding.Config{Interfaces: []binding.InterfaceConfig{
			{Name: "a", NetDev: "eth1", NodeSelector: map[string]string{"rack": "r1"}},
			{Name: "a", NetDev: "eth2"},
		}},
		Node: a.node, File: filepath.Join(t.TempDir(), "node.json"),
	}
	if _, err := Open(ctx, o); !errors.Is(err, a.err) {
		t.Errorf("got %v", err)
	}
	a.facts, a.err = Facts{
		Labels: map[string]string{"rack": "r1"}, Annotations: map[string]string{Annotation: "[{name: a, netdev: eth9}]"},
	}, nil
	if _, err := Open(ctx, o); err != nil {
		t.Fatal(err)
	}
	a.facts, a.err = Facts{}, errors.New("no route to host")
	s, err := Open(ctx, o)
	if err != nil || netdevs(s) != "eth1 eth2" {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestNothingToAsk(t *testing.T) {
	s, err := Open(t.Context(), Options{Base: binding.Config{Interfaces: []binding.InterfaceConfig{{Name: "a", NetDev: "eth1"}}}})
	if err != nil || netdevs(s) != "eth1" {
		t.Errorf("got %v, %v", s, err)
	}
	s.Run(t.Context(), nil) // returns
}
