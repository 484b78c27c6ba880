package clusterview

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portbind/portbind/pkg/view"
)

// atOnce bounds how many nodes are asked at the same time: each is a connection.
const atOnce = 100

// answer is what a node's command wrote.
type answer struct {
	node string
	out  []byte
	// at is when it came.
	at time.Time
	// err is a StatusError when the command failed, with more around it when it said why.
	err error
}

// ask runs a command of the driver's program on nodes, all at once. Answers have the order of plugins.
func (c Cluster) ask(ctx context.Context, plugins []Plugin, args ...string) []answer {
	answers := make([]answer, len(plugins))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, p := range plugins {
		group.Go(func() error {
			answers[i] = c.askOne(ctx, p, args)
			return nil
		})
	}
	_ = group.Wait() // answers have the errors
	return answers
}

func (c Cluster) askOne(ctx context.Context, p Plugin, args []string) answer {
	a := answer{node: p.Node}
	if a.err = p.available(); a.err != nil {
		return a
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("it took longer than %s", c.Timeout))
	defer cancel()
	var out, errOut bytes.Buffer
	err := c.Exec.Exec(ctx, p.Pod, append([]string{Program}, args...), &out, &errOut)
	if ctx.Err() != nil {
		return answer{node: p.Node, err: context.Cause(ctx)} // its buffers may still be written
	}
	a.out, a.at, a.err = out.Bytes(), time.Now(), err
	if said := lastLine(errOut.String()); err != nil && said != "" {
		a.err = fmt.Errorf("%w: %s", err, said)
	}
	return a
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// Rows gives what a view shows on the given nodes, or on all, node by node. It fails only when nobody could be asked.
func Rows[R view.Row](ctx context.Context, c Cluster, name string, nodes []string) ([]R, []NodeError, error) {
	plugins, silent, err := c.Plugins(ctx, nodes)
	if err != nil {
		return nil, nil, err
	}
	all := []R{}
	for _, a := range c.ask(ctx, plugins, name, "-o", "json") {
		rows, err := decode[[]R](a)
		if err != nil {
			silent = append(silent, NodeError{a.node, err})
			continue
		}
		view.On(a.node, rows)
		stamp(rows, a.at)
		all = append(all, rows...)
	}
	slices.SortFunc(silent, func(a, b NodeError) int { return strings.Compare(a.Node, b.Node) })
	return all, silent, ctx.Err()
}

// decode reads an answer. Fields that only one side knows do no harm: versions may differ.
func decode[T any](a answer) (T, error) {
	var value T
	if a.err != nil {
		return value, a.err
	}
	if err := json.Unmarshal(a.out, &value); err != nil {
		return value, fmt.Errorf("it does not make sense: %w", err)
	}
	return value, nil
}

// decodeReport reads the doctor's answer, whose exit status says how bad it is.
func decodeReport(a answer) (view.Report, error) {
	if _, ended := errors.AsType[StatusError](a.err); ended && json.Valid(a.out) && len(a.out) > 0 {
		a.err = nil
	}
	return decode[view.Report](a)
}
