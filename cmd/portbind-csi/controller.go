package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/pkg/backend/lio"
	"github.com/portbind/portbind/pkg/driver"
)

func newControllerCommand() *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Serve the CSI controller over the configured targets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runController(cmd.Context(), flags)
		},
	}
	flags.add(cmd, "/etc/portbind/controller.yaml")
	return cmd
}

func runController(ctx context.Context, flags serveFlags) (err error) {
	cfg, err := driver.LoadControllerConfig(flags.config)
	if err != nil {
		return err
	}
	targets, closeAll, err := dial(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	controller, err := driver.NewController(targets, cfg.Interfaces)
	if err != nil {
		return err
	}
	registry := newRegistry()
	if err := registry.Register(driver.NewControllerCollector(ctx, controller)); err != nil {
		return fmt.Errorf("register the metrics of targets: %w", err)
	}
	return serve(ctx, flags, driver.ServerConfig{
		Identity:   driver.NewIdentity(version, controller.Ready),
		Controller: controller,
	}, registry)
}

// dial makes the clients of the configured targets. Connections are made when they are needed.
func dial(cfg driver.ControllerConfig) (targets []driver.Target, closeAll func() error, err error) {
	var clients []*lio.Backend
	closeAll = func() error {
		var errs []error
		for _, c := range clients {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	}
	for _, t := range cfg.Targets {
		client, err := lio.New(lio.Config{Endpoint: t.Endpoint, TLS: lio.TLS(t.TLS)})
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("target %q: %w", t.Name, err), closeAll())
		}
		clients = append(clients, client)
		targets = append(targets, driver.Target{Name: t.Name, Backend: client})
	}
	return targets, closeAll, nil
}
