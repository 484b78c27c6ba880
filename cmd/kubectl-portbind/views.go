package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/portbind/portbind/pkg/clusterview"
	"github.com/portbind/portbind/pkg/view"
)

// viewFlags are those of the views.
type viewFlags struct {
	nodes             []string
	output            string
	watch             bool
	interval, timeout time.Duration
}

func (f *viewFlags) add(cmd *cobra.Command, to *connection) {
	to.addNodes(cmd, &f.nodes)
	addOutput(cmd, &f.output)
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "look again and again")
	cmd.Flags().DurationVar(&f.interval, "interval", 2*time.Second, "how often with --watch")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "how long a node may take for its answer")
}

// newViewCommands show what the nodes' own commands of these names show.
func newViewCommands(to *connection) []*cobra.Command {
	return []*cobra.Command{
		newViewCommand(to, "interfaces", "Show the nodes' storage interfaces; with --watch throughput too", clusterview.Rates),
		newViewCommand[view.Session](to, "sessions", "Show the bound iSCSI sessions of the nodes", nil),
		newViewCommand[view.Path](to, "paths", "Show the paths of the volumes on the nodes, missing ones too", nil),
		newViewCommand[view.Volume](to, "volumes", "Show the volumes on the nodes: working and expected paths", nil),
	}
}

// newViewCommand makes one; compare, if any, is told what was seen before and completes what is seen now.
func newViewCommand[R view.Row](to *connection, name, short string, compare func(before, now []R)) *cobra.Command {
	var flags viewFlags
	cmd := &cobra.Command{
		Use: name + " [NODE...]", Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := parseOutput(flags.output)
			if err != nil {
				return err
			}
			if flags.interval <= 0 {
				return errors.New("--interval: want more than 0")
			}
			cluster, err := to.cluster(flags.timeout)
			if err != nil {
				return err
			}
			s := screen[R]{
				cluster: cluster, name: name, nodes: slices.Concat(args, flags.nodes), compare: compare,
				layout: view.Layout{Format: format, Cluster: true, Watched: flags.watch},
				out:    cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(),
			}
			if !flags.watch {
				return s.show(cmd.Context())
			}
			return s.watch(cmd.Context(), flags.interval)
		},
	}
	flags.add(cmd, to)
	return cmd
}

// screen is where a view is shown.
type screen[R view.Row] struct {
	cluster     clusterview.Cluster
	name        string
	nodes       []string
	layout      view.Layout
	compare     func(before, now []R)
	out, errOut io.Writer
	// before is what was shown last; nil at first.
	before []R
}

// watch shows again and again until ctx ends.
func (s *screen[R]) watch(ctx context.Context, interval time.Duration) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := s.show(ctx)
		if ctx.Err() != nil {
			return nil // that is how it is ended
		}
		if _, silent := errors.AsType[statusError](err); err != nil && !silent {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// show looks once. Nodes that do not answer are named, and are the exit status.
func (s *screen[R]) show(ctx context.Context) error {
	rows, silent, err := clusterview.Rows[R](ctx, s.cluster, s.name, s.nodes)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	text.WriteString(s.begin())
	if s.compare != nil {
		s.compare(s.before, rows)
	}
	if err := view.Print(&text, s.layout, rows); err != nil {
		return err
	}
	s.before = rows
	if _, err := s.out.Write(text.Bytes()); err != nil {
		return err
	}
	for _, e := range silent {
		fmt.Fprintln(s.errOut, "warning:", e)
	}
	if len(silent) > 0 {
		return statusError(exitSilent)
	}
	return nil
}

// begin is written before a view: on a terminal it takes the place of the last one, elsewhere it follows that.
func (s *screen[R]) begin() string {
	file, isFile := s.out.(*os.File)
	switch {
	case !s.layout.Watched:
		return ""
	case isFile && term.IsTerminal(int(file.Fd())):
		return "\x1b[H\x1b[J"
	case s.before == nil:
		return ""
	case s.layout.Format == view.YAML:
		return "---\n"
	default:
		return "\n"
	}
}
