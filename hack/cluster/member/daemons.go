// Package member is what runs inside a machine of the lab's cluster: it makes a bare guest a Kubernetes node or a target host
// and keeps its daemons running, as systemd does on a real one.
package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/cluster/image"
	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/progress"
)

// Member is the machine that we are on.
type Member struct {
	Layout layout.Layout
	Name   string
	Index  int
	Log    *progress.Log
	// daemons end when one of them cannot be started, or with the caller's context.
	daemons *errgroup.Group
}

// daemon keeps a program running, with its output in NAME-PROGRAM.log of the run.
func (m *Member) daemon(ctx context.Context, argv ...string) {
	name := filepath.Base(argv[0])
	m.daemons.Go(func() error {
		out, err := os.OpenFile(m.Layout.Log(m.Name+"-"+name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer out.Close()
		for {
			if err := m.once(ctx, out, argv); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
	})
}

// once runs a daemon to its end. Only one that cannot be started is an error.
func (m *Member) once(ctx context.Context, out *os.File, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), image.Quiet, "PATH="+m.Layout.Debian("usr/bin")+":"+m.Layout.Debian("usr/sbin")+":"+os.Getenv("PATH"))
	// A group of its own: iscsid signals its whole group when it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	if err := cmd.Wait(); ctx.Err() == nil {
		m.Log.Say("%s ended (%v): starting it again", filepath.Base(argv[0]), err)
	}
	return nil
}

// answers waits until somebody listens on a unix socket.
func (m *Member) answers(ctx context.Context, what, socket string) error {
	return m.Log.Step(what, func() error {
		return progress.Await(ctx, func(context.Context) error {
			conn, err := net.Dial("unix", socket)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	})
}

// run runs a program to its end.
func run(ctx context.Context, argv ...string) error {
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// write makes files, and the directories that they are in.
func write(files map[string]string) error {
	var errs []error
	for path, text := range files {
		errs = append(errs, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	}
	return errors.Join(errs...)
}
