package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/linkwatch"
	"github.com/portbind/portbind/pkg/staging"
)

const (
	initiatorFile = "/etc/iscsi/initiatorname.iscsi"
	bootIDFile    = "/proc/sys/kernel/random/boot_id"
)

// nodeFlags are those of the node plugin.
type nodeFlags struct {
	serveFlags

	name, taint string
	events      bool
	host        hostexec.Options
}

func newNodeCommand() *cobra.Command {
	var flags nodeFlags
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Serve the CSI node service, and keep the sessions of this node whole",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runNode(cmd.Context(), flags)
		},
	}
	flags.add(cmd, "/etc/portbind/node.yaml")
	cmd.Flags().StringVar(&flags.name, "node-name", "", "this node's name in the cluster")
	cmd.Flags().BoolVar(&flags.host.HostMountNamespace, "host-mounts", false,
		"in a container with hostPID: use the programs and /etc of the host, not of the image")
	cmd.Flags().BoolVar(&flags.events, "events", true, "in a cluster: tell of lost and regained paths by Events")
	cmd.Flags().StringVar(&flags.taint, "startup-taint", "", "key of the taint to remove from this node once volumes can be attached")
	return cmd
}

func runNode(ctx context.Context, flags nodeFlags) (err error) {
	raisePriority(ctx)
	cfg, err := driver.LoadNodeConfig(flags.config)
	if err != nil {
		return err
	}
	host := hostexec.New(flags.host)
	options, err := nodeOptions(cfg, flags.name, host)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, options.Records.Close()) }()
	attacher, err := newAttacher(ctx, cfg, host)
	if err != nil {
		return err
	}
	defer attacher.Close()
	options.Attach = attacher
	work, err := taintWork(flags, attacher, interfaces(cfg))
	if err != nil {
		return err
	}
	return serveNode(ctx, flags, driver.NewNode(options), attacher, work...)
}

func serveNode(
	ctx context.Context, flags nodeFlags, node *driver.Node, attacher *attach.Attacher, work ...func(context.Context) error,
) error {
	registry := newRegistry()
	events := newEvents(ctx, flags)
	watcher, watching := newWatcher(flags, node, events)
	judge := newJudge(node, events)
	work = append(append(work, watching...), background(judge.Run))
	for _, c := range []prometheus.Collector{driver.NewNodeCollector(ctx, node), watcher, judge} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register node metrics: %w", err)
		}
	}
	changes := make(chan struct{}, 1)
	work = append(work, background(func(ctx context.Context) {
		node.HealLoop(ctx, changes)
	}), func(ctx context.Context) error {
		return linkwatch.Watch(ctx, func() {
			notify(changes)
			watcher.Poke()
			judge.Poke()
		})
	})
	return serve(ctx, flags.serveFlags, driver.ServerConfig{
		Identity: driver.NewIdentity(version, func(ctx context.Context) (bool, error) { return true, attacher.Ready(ctx) }),
		Node:     node,
		Rules:    driver.NodeRules(),
	}, registry, work...)
}

// notify leaves a note for a receiver that is busy; one is enough.
func notify(changes chan<- struct{}) {
	select {
	case changes <- struct{}{}:
	default:
	}
}

func newAttacher(ctx context.Context, cfg driver.NodeConfig, host *hostexec.Local) (*attach.Attacher, error) {
	timers := iscsi.FastTimers()
	if cfg.Timers == driver.TimersTolerant {
		timers = iscsi.TolerantTimers()
	}
	return attach.New(ctx, attach.Config{
		ISCSI:      iscsi.New(iscsi.Options{Host: host}),
		Interfaces: interfaces(cfg),
		Files:      host.InHost, Timers: timers, Grace: time.Duration(cfg.SessionLinger),
	})
}

// interfaces resolves the configured ones to the node's NICs of the moment.
func interfaces(cfg driver.NodeConfig) func() (binding.Resolution, error) {
	return func() (binding.Resolution, error) {
		nics, err := binding.NICs()
		return binding.Resolve(cfg.Binding(), nics), err
	}
}

// nodeOptions are what the node service needs, but for the attacher.
func nodeOptions(cfg driver.NodeConfig, name string, host *hostexec.Local) (driver.NodeOptions, error) {
	initiator, err := initiatorName(cfg.InitiatorName, name, host)
	if err != nil {
		return driver.NodeOptions{}, err
	}
	portals, err := cfg.PortalList()
	if err != nil {
		return driver.NodeOptions{}, err
	}
	bootID, err := os.ReadFile(bootIDFile)
	if err != nil {
		return driver.NodeOptions{}, fmt.Errorf("read the boot id: %w", err)
	}
	records, err := staging.Open(cfg.StateDir)
	if err != nil {
		return driver.NodeOptions{}, fmt.Errorf("open the state directory: %w", err)
	}
	return driver.NodeOptions{
		Initiator: initiator, BootID: strings.TrimSpace(string(bootID)), Interfaces: interfaces(cfg), Portals: portals,
		FS: fsmount.New(host), Records: records,
	}, nil
}

// initiatorName is what the configuration asks for: a name, the host's, or one made of the node's name.
func initiatorName(configured, node string, host *hostexec.Local) (string, error) {
	switch configured {
	case driver.InitiatorHost:
		var raw []byte
		err := host.InHost(func() (err error) {
			raw, err = os.ReadFile(initiatorFile)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("initiatorName is host: %w; install open-iscsi (RHEL, Fedora: iscsi-initiator-utils)", err)
		}
		return binding.ParseHostInitiator(raw)
	case driver.InitiatorAuto:
		if node == "" {
			return "", errors.New("--node-name is required: the initiator's name is made of it")
		}
		return binding.Initiator(node)
	default:
		return configured, nil
	}
}
