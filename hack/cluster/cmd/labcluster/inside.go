package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/machine"
	"github.com/portbind/portbind/hack/cluster/plane"
	"github.com/portbind/portbind/hack/cluster/progress"
)

// inside is what `up` starts in the lab's network namespace, outside of the machines.
func inside(l *layout.Layout) *cobra.Command {
	return &cobra.Command{
		Use: "inside", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return (&cluster{l: *l, log: progress.New(os.Stdout)}).run(c.Context())
		},
	}
}

type cluster struct {
	l     layout.Layout
	log   *progress.Log
	all   *machine.Set
	nodes []*machine.Machine
}

// bringUp is how long everything may take on a busy machine.
const bringUp = 20 * time.Minute

var errBringUp = fmt.Errorf("not within %s, machine too busy?", bringUp)

func (c *cluster) run(ctx context.Context) error {
	socket := os.Getenv("LAB_SOCKET")
	if err := os.Symlink(socket, layout.LabSocket(c.l)); err != nil {
		return err
	}
	var err error
	if c.all, err = machine.Connect(socket); err != nil {
		return err
	}
	c.nodes = c.all.With("node")
	c.log.Say("machines are up: %d", len(c.all.All()))
	if err := c.prepare(ctx); err != nil {
		return err
	}
	p, err := plane.New(c.l, c.log, c.nodes)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range c.all.All() {
		group.Go(func() error { return c.keep(ctx, m) })
	}
	group.Go(func() error { return c.serve(ctx, p) })
	return group.Wait()
}

// serve runs the control plane and says when the cluster is ready.
func (c *cluster) serve(ctx context.Context, p *plane.Plane) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	l, err := net.Listen("unix", c.l.APISocket())
	if err != nil {
		return err
	}
	defer l.Close()
	go forward(l, "tcp", net.JoinHostPort("127.0.0.1", layout.APIPort))
	limited, cancel := context.WithTimeoutCause(ctx, bringUp, errBringUp)
	defer cancel()
	if err := c.nodesReady(limited); err != nil {
		return err
	}
	if err := os.WriteFile(layout.Ready(c.l), nil, 0o644); err != nil {
		return err
	}
	select {
	case err := <-p.Ended():
		return err
	case <-ctx.Done():
		return nil
	}
}

func (c *cluster) nodesReady(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		group.Go(func() error {
			return c.log.Step(n.Name+" ready", func() error {
				return progress.Await(ctx, func(ctx context.Context) error { return c.nodeReady(ctx, n.Name) })
			})
		})
	}
	return group.Wait()
}

func (c *cluster) nodeReady(ctx context.Context, name string) error {
	out, err := exec.CommandContext(ctx, c.l.Program("kubectl"), "--kubeconfig", c.l.Kubeconfig("admin"), "get", "node", name,
		"-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`).CombinedOutput()
	if err == nil && string(out) != "True" {
		err = errors.New("not ready")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// prepare makes what the machines read: the target's certificates, and the images, by hard links into the shared directory.
func (c *cluster) prepare(ctx context.Context) error {
	target := c.all.With("target")[0]
	pki := exec.CommandContext(ctx, c.l.Bin("portbind-targetd"), "pki", "--dir", c.l.TargetPKI(), "--san", target.Addr)
	if out, err := pki.CombinedOutput(); err != nil {
		return fmt.Errorf("portbind-targetd pki: %w: %s", err, out)
	}
	if err := os.MkdirAll(c.l.Images(), 0o755); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(c.l.Root, ".cache/cluster/images/*"))
	for _, a := range archives {
		err = errors.Join(err, os.Link(a, filepath.Join(c.l.Images(), filepath.Base(a))))
	}
	return err
}

// keep runs on a machine what belongs there, again whenever the machine has booted.
func (c *cluster) keep(ctx context.Context, m *machine.Machine) error {
	role := "target"
	if strings.HasPrefix(m.Name, "node") {
		role = "node"
	}
	argv := []string{
		filepath.Join(c.l.Root, ".cache/cluster/bin/labcluster"), role, "--root", c.l.Root, "--kube", c.l.Kube, "--run", c.l.Run,
		"--name", m.Name, "--index", strconv.Itoa(m.Index), "--others", c.others(m),
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := ""; ; {
		err := m.Run(ctx, c.prefixed(m.Name), argv...)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && err.Error() != last {
			last = err.Error()
			c.log.Say("%s: %s ended, to be started again: %v", m.Name, role, errors.Unwrap(err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *cluster) others(m *machine.Machine) string {
	var all []string
	for _, n := range c.nodes {
		if n.Name != m.Name {
			all = append(all, strconv.Itoa(n.Index))
		}
	}
	return strings.Join(all, ",")
}

// prefixed passes lines of a machine on, with its name.
func (c *cluster) prefixed(name string) io.Writer {
	r, w := io.Pipe()
	go func() {
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			c.log.Say("%s: %s", name, lines.Text())
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	return w
}
