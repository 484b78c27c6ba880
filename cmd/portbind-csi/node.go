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
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/drain"
	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/fsmount"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/iscsi"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/linkwatch"
	"github.com/portbind/portbind/pkg/nodemetrics"
	"github.com/portbind/portbind/pkg/selection"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
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
	livePolicy  bool
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
	cmd.Flags().BoolVar(&flags.livePolicy, "live-policy", true,
		"in a cluster: change the path policy of volumes in use when their VolumeAttributesClass changes")
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
	source, err := newSource(ctx, flags.name, cfg)
	if err != nil {
		return err
	}
	drained := drain.In(cfg.StateDir)
	options.Interfaces = drained.Mark(source.Resolve)
	counters := nodemetrics.New(ctx, sysfs.Default, options.Interfaces)
	moved, changes := make(chan struct{}, 1), make(chan struct{}, 1)
	options.Moved = func() { notify(moved) }
	attacher, err := newAttacher(ctx, cfg, host, attach.Config{
		Interfaces: options.Interfaces, Healed: counters.Healed, Returned: func() { notify(changes) },
	})
	if err != nil {
		return err
	}
	defer attacher.Close()
	options.Attach = attacher
	work, err := taintWork(flags, attacher, source.Resolve)
	if err != nil {
		return err
	}
	events := newEvents(ctx, flags)
	guarding, err := guardName(cfg, flags.name, host, &options, events)
	if err != nil {
		return err
	}
	work = append(work, guarding...)
	fast := newFailfast(ctx, cfg, options.BootID, host)
	metrics := []prometheus.Collector{fast, counters}
	node := parts{driver.NewNode(options), attacher, source, drained, newKeeper(cfg, options.BootID), metrics, events, moved, changes}
	return serveNode(ctx, flags, node, append(work, fast.Run)...)
}

// parts are what a node plugin consists of.
type parts struct {
	*driver.Node

	attacher *attach.Attacher
	source   *selection.Source
	drained  drain.Store
	keeper   *compliance.Keeper
	metrics  []prometheus.Collector
	events   *kube.Events
	// moved says that volumes have come or gone, changes that there may be something to heal.
	moved, changes chan struct{}
}

func serveNode(ctx context.Context, flags nodeFlags, node parts, work ...func(context.Context) error) error {
	registry := newRegistry()
	watcher, watching := newWatcher(flags, node.Node, node.events)
	judge := newJudge(node.Node, node.keeper, node.events)
	work = append(append(work, watching...), background(judge.Run))
	work = append(work, policyWork(ctx, flags, node.Node, node.events)...)
	for _, c := range append(node.metrics, driver.NewNodeCollector(ctx, node.Node), watcher, judge) {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register node metrics: %w", err)
		}
	}
	changed := func() {
		notify(node.changes)
		watcher.Poke()
		judge.Poke()
	}
	work = append(work,
		background(func(ctx context.Context) { node.HealLoop(ctx, node.changes) }),
		background(func(ctx context.Context) { forward(ctx, node.moved, watcher.Poke) }),
		background(node.FollowPortals),
		background(func(ctx context.Context) { node.source.Run(ctx, changed) }),
		func(ctx context.Context) error { return node.drained.Watch(ctx, changed) },
		func(ctx context.Context) error { return linkwatch.Watch(ctx, changed) },
	)
	return serve(ctx, flags.serveFlags, driver.ServerConfig{
		Identity: driver.NewIdentity(version, func(ctx context.Context) (bool, error) { return true, node.attacher.Ready(ctx) }),
		Node:     node.Node,
		Rules:    driver.NodeRules(),
	}, registry, work...)
}

// forward calls to for each note, until ctx ends.
func forward(ctx context.Context, notes <-chan struct{}, to func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-notes:
			to()
		}
	}
}

// notify leaves a note for a receiver that is busy; one is enough.
func notify(changes chan<- struct{}) {
	select {
	case changes <- struct{}{}:
	default:
	}
}

func newAttacher(
	ctx context.Context, cfg driver.NodeConfig, host *hostexec.Local, with attach.Config,
) (*attach.Attacher, error) {
	timers := iscsi.FastTimers()
	if cfg.Timers == driver.TimersTolerant {
		timers = iscsi.TolerantTimers()
	}
	with.ISCSI, with.Files = iscsi.New(iscsi.Options{Host: host}), host.InHost
	with.Timers, with.Grace = timers, time.Duration(cfg.SessionLinger)
	return attach.New(ctx, with)
}

// nodeOptions are what the node service needs, but for the attacher and the interfaces.
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
		Initiator: initiator, BootID: strings.TrimSpace(string(bootID)), Portals: portals,
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
