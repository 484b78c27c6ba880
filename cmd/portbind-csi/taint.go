package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/kube"
	"github.com/portbind/portbind/pkg/nodetaint"
)

// taintWork is the removal of the start-up taint, when one is named: once iscsid and multipathd answer and every interface
// has its NIC here.
func taintWork(
	flags nodeFlags, attacher *attach.Attacher, resolve func() (binding.Resolution, error),
) ([]func(context.Context) error, error) {
	if flags.taint == "" {
		return nil, nil
	}
	client, err := kube.InCluster()
	if err != nil {
		return nil, fmt.Errorf("--startup-taint: %w", err)
	}
	remover := nodetaint.Remover{
		Nodes: client.Nodes(), Node: flags.name, Key: flags.taint,
		Ready: func(ctx context.Context) error {
			return errors.Join(attacher.Ready(ctx), compliant(resolve))
		},
	}
	return []func(context.Context) error{remover.Run}, nil
}

// compliant says which interfaces have no NIC on this node.
func compliant(resolve func() (binding.Resolution, error)) error {
	resolution, err := resolve()
	if err != nil {
		return err
	}
	for _, p := range resolution.Problems {
		err = errors.Join(err, p.Err)
	}
	return err
}
