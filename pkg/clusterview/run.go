package clusterview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/view"
)

// ErrInterface says that a node has no such interface.
var ErrInterface = errors.New("no such interface")

// Plugin gives the node plugin of a node.
func (c Cluster) Plugin(ctx context.Context, node string) (Plugin, error) {
	all, silent, err := c.Plugins(ctx, []string{node})
	if err != nil {
		return Plugin{}, err
	}
	if len(silent) > 0 {
		return Plugin{}, silent[0]
	}
	return all[0], nil
}

// Run runs a command of the driver's program on a node and passes on what it writes, for as long as it takes. StatusError when it
// fails. When ctx ends, the command goes on: there is nobody to tell it.
func (c Cluster) Run(ctx context.Context, p Plugin, out, errOut io.Writer, args ...string) error {
	err := p.available()
	if err == nil {
		err = c.Exec.Exec(ctx, p.Pod, append([]string{Program}, args...), out, errOut)
	}
	if _, ended := errors.AsType[StatusError](err); err == nil || ended {
		return err
	}
	return NodeError{p.Node, err}
}

// Interfaces gives those of one node.
func (c Cluster) Interfaces(ctx context.Context, p Plugin) ([]view.Interface, error) {
	rows, err := decode[[]view.Interface](c.askOne(ctx, p, []string{"interfaces", "-o", "json"}))
	if err != nil {
		return nil, NodeError{p.Node, err}
	}
	return rows, nil
}

// InterfaceNamed gives the interface of that name, or else the one that is that NIC: ErrInterface when there is none.
func (c Cluster) InterfaceNamed(ctx context.Context, p Plugin, name string) (string, error) {
	all, err := c.Interfaces(ctx, p)
	if err != nil {
		return "", err
	}
	known := make([]string, 0, len(all))
	for _, i := range all {
		known = append(known, clause(i.Name, i.NIC))
	}
	if slices.ContainsFunc(all, func(i view.Interface) bool { return i.Name == name }) {
		return name, nil
	}
	at := slices.IndexFunc(all, func(i view.Interface) bool { return i.NIC == name && name != "" })
	if at < 0 {
		return "", fmt.Errorf("%w: %.64q; node %s has %s", ErrInterface, name, p.Node, strings.Join(known, ", "))
	}
	return all[at].Name, nil
}
