package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/drain"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/keep"
	"github.com/portbind/portbind/pkg/nodeview"
	"github.com/portbind/portbind/pkg/selection"
	"github.com/portbind/portbind/pkg/sysfs"
	"github.com/portbind/portbind/pkg/view"
)

// viewFlags are those of the commands that look at this node.
type viewFlags struct {
	config, output string
	timeout        time.Duration
}

func (f *viewFlags) add(cmd *cobra.Command, formats string, timeout time.Duration) {
	cmd.Flags().StringVar(&f.config, "config", "/etc/portbind/node.yaml", "the node plugin's configuration file")
	cmd.Flags().StringVarP(&f.output, "output", "o", string(view.Table), formats)
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout, "how long it may take")
}

// newViewCommands show what there is on this node; they change nothing.
func newViewCommands() []*cobra.Command {
	return []*cobra.Command{
		newViewCommand("interfaces", "Show this node's storage interfaces: NIC, compliance, sessions, bytes", nodeview.Snapshot.InterfaceRows),
		newViewCommand("sessions", "Show the bound iSCSI sessions of this node", nodeview.Snapshot.SessionRows),
		newViewCommand("paths", "Show the paths of the volumes on this node, missing ones too", nodeview.Snapshot.PathRows),
		newViewCommand("volumes", "Show the volumes on this node: working and expected paths", nodeview.Snapshot.VolumeRows),
	}
}

func newViewCommand[R view.Row](name, short string, rows func(nodeview.Snapshot) []R) *cobra.Command {
	var flags viewFlags
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := view.ParseFormat(flags.output, view.Table, view.Wide, view.JSON, view.YAML)
			if err != nil {
				return err
			}
			snapshot, err := look(cmd.Context(), flags)
			if err != nil {
				return err
			}
			return view.Print(cmd.OutOrStdout(), view.Layout{Format: format}, rows(snapshot))
		},
	}
	flags.add(cmd, "table, wide, json or yaml", 10*time.Second)
	return cmd
}

func look(ctx context.Context, flags viewFlags) (nodeview.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, flags.timeout)
	defer cancel()
	source, err := newNodeSource(flags.config)
	if err != nil {
		return nodeview.Snapshot{}, err
	}
	return source.Look(ctx)
}

// newNodeSource says where to look, by the node plugin's configuration. With an error it has what does not depend on that.
func newNodeSource(config string) (nodeview.Source, error) {
	source := nodeview.Source{Sys: sysfs.Default, Proc: "/proc", Dev: "/dev"}
	cfg, err := driver.LoadNodeConfig(config)
	if err != nil {
		return source, err
	}
	source.StateDir = cfg.StateDir
	source.Portals, err = cfg.PortalList()
	interfaces, interfacesErr := thisNodes(cfg)
	if err = errors.Join(err, interfacesErr); err != nil {
		return source, err
	}
	source.Interfaces = drain.In(cfg.StateDir).Mark(func() (binding.Resolution, error) {
		nics, err := interfaces.NICs()
		return binding.Resolve(interfaces, nics), err
	})
	return source, nil
}

// thisNodes gives the entries that hold on this node. What Kubernetes knows of it is what the node plugin read last.
func thisNodes(cfg driver.NodeConfig) (binding.Config, error) {
	all := cfg.Binding()
	if !all.Selects() && !cfg.NodeAnnotation {
		return all, nil
	}
	var facts selection.Facts
	file := filepath.Join(cfg.StateDir, "node.json")
	if found, err := keep.Load(file, &facts); !found {
		return all, fmt.Errorf("the interfaces depend on the node's labels or annotation, which the node plugin has not read yet (%s): %w",
			file, errors.Join(err, errNotThere))
	}
	c := all.On(facts.Labels)
	if list, there := facts.Annotations[selection.Annotation]; there && cfg.NodeAnnotation {
		if own, err := c.Override(list); err == nil {
			return own, nil // a wrong one is not used by the node plugin either
		}
	}
	return c, nil
}

var errNotThere = errors.New("no such file")

// statusError ends the program with a status; what there is to say has been written.
type statusError int

// Error implements error.
func (s statusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
