package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/plane"
)

// outside runs the whole cluster in the foreground, from the machine's own network namespace.
func outside(l *layout.Layout) *cobra.Command {
	var kubeconfig, listen string
	c := &cobra.Command{
		Use: "up", Short: "Run the cluster until told to end", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return up(c.Context(), *l, kubeconfig, listen) },
	}
	c.Flags().StringVar(&kubeconfig, "kubeconfig", "", "where to write a kubeconfig for this machine")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "where the API server answers on this machine")
	return c
}

func up(ctx context.Context, l layout.Layout, kubeconfig, listen string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := plane.WriteKubeconfig(l, "admin", kubeconfig, "https://"+listener.Addr().String()); err != nil {
		return err
	}
	go forward(listener, "unix", l.APISocket())
	cmd := labrun(ctx, l)
	if err := cmd.Run(); ctx.Err() == nil {
		return fmt.Errorf("the lab ended: %w", err)
	}
	return nil
}

// labrun starts the lab with the machines of guests/lab.guests, and ourselves outside of them.
func labrun(ctx context.Context, l layout.Layout) *exec.Cmd {
	self := filepath.Join(l.Root, ".cache/cluster/bin/labcluster")
	cmd := exec.CommandContext(ctx, filepath.Join(l.Root, "hack/lab/run"), "-name", filepath.Base(l.Run), "-timeout", "8760h",
		self, "inside", "--root", l.Root, "--kube", l.Kube, "--run", l.Run)
	cmd.Dir = filepath.Join(l.Root, "hack/cluster/guests")
	cmd.Env = append(os.Environ(), "LAB=uml", "LAB_ARTEFACTS="+filepath.Dir(l.Run))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd
}

// forward passes connections on until the listener is closed.
func forward(l net.Listener, network, address string) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer near.Close()
			far, err := net.Dial(network, address)
			if err != nil {
				return
			}
			defer far.Close()
			join(near, far)
		}()
	}
}

// join copies both ways until either side ends.
func join(a, b net.Conn) {
	var group errgroup.Group
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		group.Go(func() error {
			_, err := io.Copy(pair[0], pair[1])
			_ = a.Close()
			_ = b.Close()
			return err
		})
	}
	_ = group.Wait() // the end of a connection is no failure
}
