package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/machine"
)

func find(l *layout.Layout, name string) (*machine.Machine, error) {
	set, err := machine.Connect(layout.LabSocket(*l))
	if err != nil {
		return nil, err
	}
	i := slices.Index(machine.Names(), name)
	if i < 0 {
		return nil, fmt.Errorf("no machine %q; there are %v", name, machine.Names())
	}
	return set.All()[i], nil
}

func execCommand(l *layout.Layout) *cobra.Command {
	return &cobra.Command{
		Use: "exec MACHINE PROGRAM [ARGS...]", Short: "Run a program in a machine", Args: cobra.MinimumNArgs(2),
		DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			m, err := find(l, args[0])
			if err != nil {
				return err
			}
			return m.Run(c.Context(), os.Stdout, args[1:]...)
		},
	}
}

func power(l *layout.Layout) *cobra.Command {
	return &cobra.Command{
		Use: "power MACHINE off|on", Short: "Cut a machine's power, or boot it", Args: cobra.ExactArgs(2),
		ValidArgs: machine.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := find(l, args[0])
			switch {
			case err != nil:
				return err
			case args[1] == "off":
				return m.Kill()
			case args[1] == "on":
				return m.Boot()
			}
			return fmt.Errorf("off or on, not %q", args[1])
		},
	}
}

func link(l *layout.Layout) *cobra.Command {
	return &cobra.Command{
		Use: "link MACHINE NIC up|down", Short: "Plug a machine's NIC (mgmt, san0, san1) into its switch or take it off",
		Args: cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := find(l, args[0])
			if err != nil {
				return err
			}
			return m.Link(args[1], args[2] == "up")
		},
	}
}
