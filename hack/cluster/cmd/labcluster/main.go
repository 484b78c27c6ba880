// Labcluster runs the cluster in the lab, and is also what runs inside its machines. docs/cluster.md is the manual; the scripts
// in hack/cluster call it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/hack/cluster/layout"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "labcluster:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	var l layout.Layout
	c := &cobra.Command{Use: "labcluster", SilenceUsage: true, SilenceErrors: true}
	flags := c.PersistentFlags()
	flags.StringVar(&l.Root, "root", "", "the repository")
	flags.StringVar(&l.Kube, "kube", "", "Kubernetes' programs")
	flags.StringVar(&l.Run, "run", "", "this run's directory")
	c.AddCommand(outside(&l), inside(&l), node(&l), target(&l), importImages(&l), bake(&l), imageArchives(&l))
	c.AddCommand(execCommand(&l), power(&l), link(&l))
	return c
}
