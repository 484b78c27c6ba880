package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/lab/guest"
)

// runOnHost runs the program on this machine's kernel. It gets a mount namespace of its own; not a network namespace,
// since the kernel's iSCSI initiator talks to iscsid in the first one only.
func runOnHost(ctx context.Context, o options) (int, error) {
	if err := hostReady(ctx); err != nil {
		return 0, fmt.Errorf("LAB=host: %w", err)
	}
	if err := guest.Isolate(); err != nil {
		return 0, fmt.Errorf("LAB=host: %w", err)
	}
	return runHere(ctx, o)
}

// hostReady loads the modules and makes sure that nobody else uses what scenarios take down.
func hostReady(ctx context.Context) error {
	for _, m := range modules {
		argv := append([]string{"-q"}, strings.Fields(m)...)
		if err := exec.CommandContext(ctx, "modprobe", argv...).Run(); err != nil { //nolint:gosec // our names
			return fmt.Errorf("this kernel has no module %s; use LAB=uml or LAB=qemu", strings.Fields(m)[0])
		}
	}
	for daemon, socket := range map[string]string{
		"iscsid": "@ISCSIADM_ABSTRACT_NAMESPACE", "multipathd": "@/org/kernel/linux/storage/multipathd",
	} {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			return fmt.Errorf("%s is running: this machine uses it; stop it and its socket unit, if it does not", daemon)
		}
	}
	return nil
}

// runHere runs the program on this machine, in the namespaces that we are in.
func runHere(ctx context.Context, o options, env ...string) (int, error) {
	cmd := exec.CommandContext(ctx, o.argv[0], o.argv[1:]...) //nolint:gosec // what the lab is for
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(o.programEnv(), env...)
	// Its own process group: Ctrl-C reaches us alone, and Cancel passes it on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(endSignal(ctx)) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	default:
		return 0, fmt.Errorf("%s: %w", o.argv[0], err)
	}
}
