package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/portbind/portbind/pkg/driver"
	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/nodeid"
	"github.com/portbind/portbind/pkg/pathwatch"
)

// guardName has the node announce no initiator name that another node has, and gives what has to run for it: nothing for a name that is
// made of the node's, which no other node has, and outside a cluster.
func guardName(
	cfg driver.NodeConfig, node string, host *hostexec.Local, options *driver.NodeOptions, events *kube.Events,
) ([]func(context.Context) error, error) {
	if cfg.InitiatorName == driver.InitiatorAuto || node == "" {
		return nil, nil
	}
	client, err := kube.InCluster()
	if errors.Is(err, kube.ErrNotInCluster) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("initiatorName is not auto: %w", err)
	}
	records := options.Records
	c := nodeid.Config{
		Cluster: client, Barred: kube.Barred, Driver: driver.Name, Node: node, Initiator: options.Initiator,
		Current: func() (string, error) { return initiatorName(cfg.InitiatorName, node, host) },
		Used: func() bool {
			all, err := records.Records()
			return len(all) > 0 || err != nil // there is one that cannot be read
		},
	}
	if events != nil {
		c.Tell = func(warning bool, reason, message string) {
			events.Post(pathwatch.Event{Warning: warning, Reason: reason, Message: message})
		}
	}
	guard := nodeid.New(c)
	options.Unique = guard.Check
	return []func(context.Context) error{guard.Run}, nil
}

// namesakes finds the nodes with the initiator name of this one; nil where there can be none, and where the API server cannot be asked.
func namesakes(cfg driver.NodeConfig, flags doctorFlags) func(context.Context) ([]string, error) {
	if cfg.InitiatorName == driver.InitiatorAuto || flags.node == "" {
		return nil
	}
	client, err := kube.InCluster()
	if err != nil {
		return nil
	}
	return func(ctx context.Context) ([]string, error) {
		name, err := initiatorName(cfg.InitiatorName, flags.node, hostexec.New(flags.host))
		if err != nil {
			return nil, err
		}
		names, err := nodeid.Others(ctx, client, driver.Name, name, flags.node)
		if kube.Barred(err) {
			return nil, nil
		}
		return names, err
	}
}
