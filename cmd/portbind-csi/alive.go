package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/driver"
)

// newAliveCommand is for a liveness probe: kubelet's own cannot speak CSI.
func newAliveCommand() *cobra.Command {
	var endpoint string
	var timeout time.Duration
	var wait bool
	cmd := &cobra.Command{
		Use:   "alive",
		Short: "Succeed when a plugin answers at the endpoint, ready or not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return driver.Alive(ctx, endpoint, wait)
		},
	}
	cmd.Flags().StringVar(&endpoint, "endpoint", "unix:///csi/csi.sock", "where CSI is served")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for an answer")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for a plugin that is not there yet")
	return cmd
}
