package main

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/clusterview"
	"github.com/portbind/portbind/pkg/view"
)

// doctorFlags are those of the doctor.
type doctorFlags struct {
	nodes, portals []string
	output         string
	timeout        time.Duration
}

func newDoctorCommand(to *connection) *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [NODE...]",
		Short: "Say what is wrong with binding, sessions and paths in the cluster, and how to mend it",
		Long: "Say what is wrong with binding, sessions and paths in the cluster, and how to mend it: what each node's doctor finds, and what\n" +
			"no node can see by itself. It changes nothing; nodes connect to their portals from each bound NIC. What is well is only counted\n" +
			"in a table, and shown with -o wide. Exit status: 0, 1 with warnings, 2 with errors, 3 when nobody could be asked.",
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.nodes = slices.Concat(args, flags.nodes)
			return runDoctor(cmd, to, flags)
		},
	}
	to.addNodes(cmd, &flags.nodes)
	addOutput(cmd, &flags.output)
	cmd.Flags().StringSliceVar(&flags.portals, "portal", nil, "address[:port] of a portal to try from the nodes, besides those that they know")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", time.Minute, "how long a node may take for its answer")
	return cmd
}

func runDoctor(cmd *cobra.Command, to *connection, flags doctorFlags) error {
	format, err := parseOutput(flags.output)
	if err != nil {
		return err
	}
	cluster, err := to.cluster(flags.timeout)
	if err != nil {
		return err
	}
	report, err := cluster.Doctor(cmd.Context(), clusterview.Patient{Nodes: flags.nodes, Portals: flags.portals, Version: version})
	if err != nil {
		return err
	}
	if format == view.Table || format == view.Wide {
		err = report.WriteClusterTable(cmd.OutOrStdout(), format == view.Wide)
	} else {
		err = view.Marshal(cmd.OutOrStdout(), format, report)
	}
	if err != nil {
		return err
	}
	if status := report.ExitStatus(); status != 0 {
		return statusError(status)
	}
	return nil
}
