// Command portbind-csi is the CSI driver: the controller plugin, and the node plugin on every node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/driver"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(klog.NewContext(context.Background(), klog.Background()), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer klog.Flush()
	err := newRootCommand().ExecuteContext(ctx)
	if status, ok := errors.AsType[statusError](err); ok {
		return int(status)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "portbind-csi:", err)
		return 1
	}
	return 0
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "portbind-csi",
		Short:         "CSI driver for multipath iSCSI bound to named interfaces",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	addLogFlags(root)
	root.AddCommand(newControllerCommand(), newNodeCommand(), newAliveCommand(), newVersionCommand())
	root.AddCommand(append(newViewCommands(), newDoctorCommand())...)
	root.AddCommand(newDrainCommands()...)
	return root
}

// addLogFlags offers klog's verbosity; its other flags are about log files, which a container has no use for.
func addLogFlags(root *cobra.Command) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	for _, name := range []string{"v", "vmodule"} {
		root.PersistentFlags().AddGoFlag(all.Lookup(name))
	}
}

func newVersionCommand() *cobra.Command {
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

// serveFlags are those of both plugins.
type serveFlags struct {
	endpoint, config, metricsAddress string
}

func (f *serveFlags) add(cmd *cobra.Command, config string) {
	cmd.Flags().StringVar(&f.endpoint, "endpoint", "unix:///csi/csi.sock", "where CSI is served")
	cmd.Flags().StringVar(&f.config, "config", config, "the configuration file, YAML")
	cmd.Flags().StringVar(&f.metricsAddress, "metrics-address", "", "host:port of the metrics; none when empty")
}

// newRegistry makes the registry of the process's metrics.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// serve serves CSI and metrics until ctx ends, and whatever else the plugin has to do meanwhile.
func serve(
	ctx context.Context, flags serveFlags, cfg driver.ServerConfig, registry *prometheus.Registry, background ...func(context.Context) error,
) error {
	cfg.Endpoint, cfg.Registerer = flags.endpoint, registry
	klog.FromContext(ctx).Info("Starting", "driver", driver.Name, "version", version)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return driver.Serve(ctx, cfg) })
	group.Go(func() error { return driver.ServeMetrics(ctx, flags.metricsAddress, registry) })
	for _, work := range background {
		group.Go(func() error { return work(ctx) })
	}
	return group.Wait()
}
