package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/portbind/portbind/pkg/clusterview"
	"github.com/portbind/portbind/pkg/view"
)

// defaultNamespace is where the documentation installs the driver.
const defaultNamespace = "portbind"

// connection says which cluster it is, as kubectl's flags do.
type connection struct {
	kubeconfig string
	overrides  clientcmd.ConfigOverrides
}

// addFlags adds kubectl's own, except those of basic authentication, which Kubernetes does not have any more.
func (c *connection) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.AuthOverrideFlags.Username.LongName, names.AuthOverrideFlags.Password.LongName = "", ""
	names.ClusterOverrideFlags.APIServer.ShortName = "s"
	names.ContextOverrideFlags.Namespace.Description = "The namespace of the driver (default " + defaultNamespace + ")"
	clientcmd.BindOverrideFlags(&c.overrides, flags, names)
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "Path to the kubeconfig file")
	addLogFlags(root)
	for flag, complete := range map[string]cobra.CompletionFunc{"context": c.completeContexts, "namespace": cobra.NoFileCompletions} {
		must(root.RegisterFlagCompletionFunc(flag, complete))
	}
}

func (c *connection) config() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &c.overrides)
}

var errNoKubeconfig = errors.New("no cluster is configured: set KUBECONFIG or give --kubeconfig")

// cluster gives the cluster whose nodes have a time for their answers. It does not connect.
func (c *connection) cluster(timeout time.Duration) (clusterview.Cluster, error) {
	config, err := c.config().ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return clusterview.Cluster{}, errNoKubeconfig
	}
	if err != nil {
		return clusterview.Cluster{}, err
	}
	config.UserAgent = "kubectl-portbind/" + version
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return clusterview.Cluster{}, fmt.Errorf("kubeconfig: %w", err)
	}
	namespace := c.overrides.Context.Namespace
	if namespace == "" {
		namespace = defaultNamespace // and not that of the kubeconfig's context, which is for workloads
	}
	return clusterview.Cluster{
		Client: client, Exec: clusterview.Remote{Config: config, Client: client}, Namespace: namespace, Timeout: timeout,
	}, nil
}

func (c *connection) completeContexts(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	config, err := c.config().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(config.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

// completionTime is for what the shell asks while somebody types.
const completionTime = 3 * time.Second

// completeNodes offers the nodes that have a plugin, except those that are there already.
func (c *connection) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	cluster, err := c.cluster(completionTime)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	plugins, _, err := cluster.Plugins(ctx, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var nodes []string
	for _, p := range plugins {
		if !slices.Contains(args, p.Node) {
			nodes = append(nodes, p.Node)
		}
	}
	return nodes, cobra.ShellCompDirectiveNoFileComp
}

// completeInterfaces offers the interfaces of a node.
func (c *connection) completeInterfaces(cmd *cobra.Command, args []string, node string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || node == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	cluster, err := c.cluster(completionTime)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	plugin, err := cluster.Plugin(ctx, node)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := cluster.Interfaces(ctx, plugin)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// addNodes adds a flag for nodes, which can be arguments as well.
func (c *connection) addNodes(cmd *cobra.Command, nodes *[]string) {
	cmd.Flags().StringSliceVar(nodes, "node", nil, "only these nodes, as if given as arguments")
	cmd.ValidArgsFunction = c.completeNodes
	must(cmd.RegisterFlagCompletionFunc("node", c.completeNodes))
}

// addOutput adds the flag for the format.
func addOutput(cmd *cobra.Command, output *string) {
	formats := []string{string(view.Table), string(view.Wide), string(view.JSON), string(view.YAML)}
	cmd.Flags().StringVarP(output, "output", "o", formats[0], "table, wide, json or yaml")
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
}

func parseOutput(output string) (view.Format, error) {
	return view.ParseFormat(output, view.Table, view.Wide, view.JSON, view.YAML)
}

// must is for what only a slip in this program can make fail.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
