package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/clusterview"
)

// lookTime is how long a node may take to say what its interfaces are.
const lookTime = 30 * time.Second

func newDrainCommand(to *connection) *cobra.Command {
	return newNICCommand(to, "drain", "Move all I/O off a NIC of a node, so that it can be taken down without an error",
		"Move all I/O off a NIC of a node, so that it can be taken down without an error. It waits until that is so; it is refused where a\n"+
			"volume would be left without a path. Exit status: that of portbind-csi drain on the node; 3 when the node could not be asked.")
}

func newUndrainCommand(to *connection) *cobra.Command {
	return newNICCommand(to, "undrain", "Let a NIC of a node carry I/O again",
		"Let a NIC of a node carry I/O again. Exit status: that of portbind-csi undrain on the node; 3 when the node could not be asked.")
}

// newNICCommand makes a command that is one of the node's program too.
func newNICCommand(to *connection, name, short, long string) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use: name + " INTERFACE|NIC --node NODE", Short: short, Long: long, Args: oneNIC,
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := to.cluster(lookTime)
			if err != nil {
				return err
			}
			plugin, err := cluster.Plugin(cmd.Context(), node)
			if err != nil {
				return err
			}
			iface, err := cluster.InterfaceNamed(cmd.Context(), plugin, args[0])
			if err != nil {
				return err
			}
			err = cluster.Run(cmd.Context(), plugin, cmd.OutOrStdout(), cmd.ErrOrStderr(), name, iface)
			if status, ended := errors.AsType[clusterview.StatusError](err); ended {
				return statusError(status)
			}
			return err
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return to.completeInterfaces(cmd, args, node)
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the node")
	must(cmd.MarkFlagRequired("node"))
	must(cmd.RegisterFlagCompletionFunc("node", to.completeNodes))
	return cmd
}

func oneNIC(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return errors.New("want the name of one interface or NIC; `kubectl portbind interfaces` shows them")
	}
	return nil
}
