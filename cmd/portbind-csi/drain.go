package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/drain"
	"github.com/portbind/portbind/pkg/nodeview"
	"github.com/portbind/portbind/pkg/view"
)

// drainEvery is how often it is looked what is left: nobody tells of sessions and paths together.
const drainEvery = 250 * time.Millisecond

// errNoInterface is a name that means nothing on this node.
var errNoInterface = errors.New("no such interface on this node")

// drainReport is what the commands say in the end.
type drainReport struct {
	Interface string `json:"interface"`
	// State is drained, draining, refused, in use, or returning.
	State string `json:"state"`
	// Sessions and Disks are what there is over the interface.
	Sessions int `json:"sessions"`
	Disks    int `json:"disks"`
	// Volumes are those that it waits for, or that hinder it.
	Volumes []nodeview.Blocker `json:"volumes,omitempty"`
}

// newDrainCommands take an interface out of use for maintenance, and give it back.
func newDrainCommands() []*cobra.Command {
	return []*cobra.Command{
		newDrainCommand("drain INTERFACE", "Move all I/O off a storage interface of this node, for maintenance",
			"Move all I/O off a storage interface of this node, and keep it off until `undrain`, across restarts and reboots. The node\n"+
				"plugin does it; this command waits for it. Exit status 1: a volume has no other working path (then nothing is changed),\n"+
				"or it is not done in time (then it stays drained, and goes on).", drainInterface),
		newDrainCommand("undrain INTERFACE", "Use a drained storage interface of this node again",
			"Use a drained storage interface of this node again. The command waits until the volumes have their paths over it.", undrainInterface),
	}
}

func newDrainCommand(use, short, long string, run func(context.Context, drainer) (drainReport, error)) *cobra.Command {
	var flags viewFlags
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: oneInterface,
		RunE: func(cmd *cobra.Command, args []string) error {
			format, err := view.ParseFormat(flags.output, view.Table, view.JSON, view.YAML)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), flags.timeout)
			defer cancel()
			d := drainer{name: args[0], out: cmd.OutOrStdout(), format: format}
			if d.source, err = newNodeSource(flags.config); err != nil {
				return err
			}
			d.store = drain.In(d.source.StateDir)
			report, err := run(ctx, d)
			if err != nil {
				return err
			}
			return d.finish(report)
		},
	}
	flags.add(cmd, "table, json or yaml", time.Minute)
	return cmd
}

func oneInterface(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("want the name of one interface; `portbind-csi interfaces` shows them")
	}
	return nil
}

// drainer is one of the commands at work.
type drainer struct {
	name   string
	source nodeview.Source
	store  drain.Store
	format view.Format
	out    io.Writer
}

func drainInterface(ctx context.Context, d drainer) (drainReport, error) {
	s, err := d.source.Look(ctx)
	if err != nil {
		return drainReport{}, err
	}
	report := d.look(s)
	if !s.Interfaces.Names(d.name) && report.Sessions == 0 {
		return report, fmt.Errorf("%w: %q", errNoInterface, d.name)
	}
	if report.Volumes = s.Blocking(d.name); len(report.Volumes) > 0 && !s.Interfaces.IsDrained(d.name) {
		report.State = "refused"
		return report, nil
	}
	if err := d.store.Set(d.name); err != nil {
		return report, err
	}
	return d.await(ctx, func(s nodeview.Snapshot) drainReport {
		report := d.look(s)
		if report.State = "drained"; report.Sessions > 0 {
			report.State, report.Volumes = "draining", s.Blocking(d.name)
		}
		return report
	}, "drained")
}

func undrainInterface(ctx context.Context, d drainer) (drainReport, error) {
	if err := d.store.Clear(d.name); err != nil {
		return drainReport{}, err
	}
	return d.await(ctx, func(s nodeview.Snapshot) drainReport {
		report := d.look(s)
		report.State, report.Volumes = "in use", s.Missing(d.name)
		if len(report.Volumes) > 0 {
			report.State = "returning"
		}
		return report
	}, "in use")
}

func (d drainer) look(s nodeview.Snapshot) drainReport {
	report := drainReport{Interface: d.name}
	report.Sessions, report.Disks = s.Over(d.name)
	return report
}

// await looks until the state is as wanted or the time is over, and shows what changes meanwhile.
func (d drainer) await(ctx context.Context, judge func(nodeview.Snapshot) drainReport, want string) (drainReport, error) {
	ticker := time.NewTicker(drainEvery)
	defer ticker.Stop()
	var last drainReport
	for {
		s, err := d.source.Look(ctx)
		if ctx.Err() != nil && last.State != "" {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		report := judge(s)
		if report.State == want {
			return report, nil
		}
		if !slices.Equal(report.Volumes, last.Volumes) || report.Sessions != last.Sessions || report.Disks != last.Disks {
			d.show(report)
		}
		last = report
		select {
		case <-ctx.Done():
			return last, nil
		case <-ticker.C:
		}
	}
}

// show writes a line of progress; other formats have only the end.
func (d drainer) show(r drainReport) {
	if d.format != view.Table {
		return
	}
	fmt.Fprintf(d.out, "%s is %s: %d sessions, %d disks\n", r.Interface, r.State, r.Sessions, r.Disks)
	for _, v := range r.Volumes {
		fmt.Fprintf(d.out, "  %s: %s\n", v.Volume, v.Reason)
	}
}

// finish writes the end, and makes the exit status of it.
func (d drainer) finish(r drainReport) error {
	done := r.State == "drained" || r.State == "in use"
	if d.format == view.Table {
		d.show(r)
	} else if err := view.Marshal(d.out, d.format, r); err != nil {
		return err
	}
	if !done {
		return statusError(1)
	}
	return nil
}
