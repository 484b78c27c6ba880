package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/doctor"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/view"
)

// doctorFlags are those of the doctor.
type doctorFlags struct {
	viewFlags

	portals []string
	node    string
	host    hostexec.Options
}

func newDoctorCommand() *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with binding, sessions and paths on this node, and how to mend it",
		Long: "Say what is wrong with binding, sessions and paths on this node, and how to mend it. It changes nothing; it connects to the\n" +
			"portals from each bound NIC. Exit status: 0, 1 with warnings, 2 with errors.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, flags) },
	}
	flags.add(cmd, "table, json or yaml", 30*time.Second)
	cmd.Flags().StringSliceVar(&flags.portals, "portal", nil, "address[:port] of a portal to try besides those of volumes and configuration")
	cmd.Flags().StringVar(&flags.node, "node-name", os.Getenv("NODE_NAME"), "this node's name in the cluster; the default is $NODE_NAME")
	cmd.Flags().BoolVar(&flags.host.HostMountNamespace, "host-mounts", inContainer(),
		"in a container with hostPID: use the programs and /etc of the host; the default is found out")
	return cmd
}

func runDoctor(cmd *cobra.Command, flags doctorFlags) error {
	format, err := view.ParseFormat(flags.output, view.Table, view.JSON, view.YAML)
	if err != nil {
		return err
	}
	portals, err := driver.NodeConfig{Portals: flags.portals}.PortalList()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), flags.timeout)
	defer cancel()
	node, configErr := newNodeSource(flags.config)
	node.Portals = append(node.Portals, portals...)
	source := doctor.Source{
		Source: node, Host: hostexec.New(flags.host), Multipathd: multipath.NewClient(), Configuration: configErr,
	}
	if cfg, err := driver.LoadNodeConfig(flags.config); err == nil { // else configErr says it
		source.FailoverOff = !cfg.InstantFailover
		source.Namesakes = namesakes(cfg, flags)
	}
	report := doctor.Judge(source.Gather(ctx))
	if format == view.Table {
		err = report.WriteTable(cmd.OutOrStdout())
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

// inContainer says that we see the host's first process, and it sees other mounts than we do.
func inContainer() bool {
	theirs, err := os.Readlink("/proc/1/ns/mnt")
	if err != nil {
		return false
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	return err == nil && ours != theirs
}
