// Command kubectl-portbind is the kubectl plugin: interfaces, sessions, paths and volumes of all nodes of a cluster, what is wrong with
// them, and the drain of a NIC. It runs on a user's machine and asks the node plugins through the API server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // whatever way to log in a kubeconfig names
	"k8s.io/klog/v2"
)

// version is set by the linker.
var version = "dev"

// Exit statuses besides 0; the doctor's are those of its worst finding, drain's that of the node's command.
const (
	// exitSilent: some node did not answer.
	exitSilent = 1
	// exitFailed: nothing could be done: a wrong command line, no API server, no node plugin.
	exitFailed = 3
)

// statusError ends the program with a status; what there is to say has been written.
type statusError int

// Error implements error.
func (s statusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(klog.NewContext(context.Background(), klog.Background()), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRootCommand().ExecuteContext(ctx)
	if status, ok := errors.AsType[statusError](err); ok {
		return int(status)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return exitFailed
	}
	return 0
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-portbind",
		Short:         "Storage interfaces, iSCSI sessions and paths of a cluster's nodes",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl portbind"},
		SilenceUsage:  true,
		SilenceErrors: true,
		// What a user is to know is an error or a warning of ours; libraries log as well when, for instance, a connection is given up.
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if !klog.FromContext(cmd.Context()).V(1).Enabled() {
				klog.SetLogger(logr.Discard())
			}
		},
	}
	var to connection
	to.addFlags(root)
	root.AddCommand(newViewCommands(&to)...)
	root.AddCommand(newDoctorCommand(&to), newDrainCommand(&to), newUndrainCommand(&to), newVersionCommand())
	return root
}

// addLogFlags offers klog's verbosity: with 6 and more, requests are logged.
func addLogFlags(root *cobra.Command) {
	all := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(all)
	root.PersistentFlags().AddGoFlag(all.Lookup("v"))
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print this program's version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
}
