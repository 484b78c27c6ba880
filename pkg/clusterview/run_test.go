package clusterview

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	c, _ := newCluster(
		fakeExec{"p1 drain san-a": {out: "moved\n", errOut: "refused\n", status: 4}}, pod("p1", ofNodes, "node1"), pod("p2", ofNodes, "node2", crashing),
	)
	p, err := c.Plugin(t.Context(), "node1")
	check(t, err)
	var out, errOut strings.Builder
	err = c.Run(t.Context(), p, &out, &errOut, "drain", "san-a")
	if status, ok := errors.AsType[StatusError](err); !ok || status != 4 || out.String() != "moved\n" || errOut.String() != "refused\n" {
		t.Errorf("%v, %q, %q", err, &out, &errOut)
	}
	p, err = c.Plugin(t.Context(), "node2")
	check(t, err)
	if err := c.Run(t.Context(), p, io.Discard, io.Discard, "drain", "san-a"); !errors.As(err, new(NodeError)) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Plugin(t.Context(), "node3"); !errors.Is(err, ErrNoPlugin) {
		t.Errorf("got %v", err)
	}
}

// A name goes before a NIC of that name.
func TestInterfaceNamed(t *testing.T) {
	c, _ := newCluster(
		fakeExec{"p1 interfaces -o json": {out: `[{"name":"san-a","nic":"san-b"},{"name":"san-b","nic":"eth3"},{"name":"san-c"}]`}}, pod("p1", ofNodes, "node1"),
	)
	p, err := c.Plugin(t.Context(), "node1")
	check(t, err)
	for name, want := range map[string]string{"san-a": "san-a", "san-b": "san-b", "eth3": "san-b", "san-c": "san-c"} {
		if got, err := c.InterfaceNamed(t.Context(), p, name); err != nil || got != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "eth9"} {
		_, err := c.InterfaceNamed(t.Context(), p, name)
		if !errors.Is(err, ErrInterface) || !strings.Contains(err.Error(), "node1 has san-a: san-b, san-b: eth3, san-c") {
			t.Errorf("got %v", err)
		}
	}
}
