// Command portbind-targetd is the daemon on a storage host: volumes in LVM thin pools, exported by the kernel's
// iSCSI target, ruled over gRPC.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/target/config"
	"github.com/portbind/portbind/pkg/target/daemon"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := command().ExecuteContext(ctx)
	stop()
	klog.Flush()
	if err != nil {
		fmt.Fprintf(os.Stderr, "portbind-targetd: %v\n", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "portbind-targetd",
		Short:         "Volumes in LVM thin pools, exported over iSCSI",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), checkCommand(), pkiCommand(), versionCommand())
	return root
}

const defaultConfig = "/etc/portbind-targetd/config.yaml"

func serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Restore all exports, then serve the API until SIGTERM",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			return daemon.New(cfg, version, daemon.RealParts()).Run(klog.NewContext(cmd.Context(), klog.Background()))
		},
	}
	cmd.Flags().StringVar(&file, "config", defaultConfig, "configuration file")
	logFlags(cmd)
	return cmd
}

// logFlags offers klog's verbosity and nothing else of it.
func logFlags(cmd *cobra.Command) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	cmd.Flags().AddGoFlag(all.Lookup("v"))
}

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and this host, without changing anything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			return daemon.New(cfg, version, daemon.RealParts()).Check(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&file, "config", defaultConfig, "configuration file")
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
}
