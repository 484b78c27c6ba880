// Labrun runs a program, usually a compiled Go test, on a kernel that has iSCSI, LIO and dm-multipath: in a
// User-Mode Linux guest, under qemu, or on this host. The same binary is the guests' first process and agent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/portbind/portbind/hack/lab/guest"
	"github.com/portbind/portbind/hack/lab/vm"
	"github.com/portbind/portbind/hack/lab/writer"
)

// Exit codes of our own, chosen as timeout(1) and the shell choose theirs.
const (
	exitTimeout     = 124
	exitLabFailed   = 125
	exitInterrupted = 130
)

func main() {
	switch {
	case len(os.Args) > 3 && os.Args[1] == vm.SuperviseArg:
		os.Exit(inner(vm.Supervise(os.Args[2:])))
	case len(os.Args) == 3 && os.Args[1] == guest.AgentArg:
		os.Exit(inner(guest.Agent(os.Args[2])))
	case len(os.Args) == 3 && os.Args[1] == writer.Arg:
		os.Exit(inner(writer.Serve(os.Args[2], os.Stdin, os.Stdout)))
	case os.Getpid() == 1:
		guest.Init()
	default:
		os.Exit(outside())
	}
}

func inner(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	return 0
}

func outside() int {
	o, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return fail(err)
	}
	if flags := o.namespaces(); flags != 0 {
		if err := enterNamespaces(flags); err != nil {
			return fail(err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, errTimeLimit)
	defer cancel()
	code, err := runIn(ctx, o)
	printLeftOut(o)
	switch {
	case errors.Is(context.Cause(ctx), errTimeLimit):
		return report(exitTimeout, fmt.Errorf("%s: %w of %s reached", o.name, errTimeLimit, o.timeout), o)
	case ctx.Err() != nil:
		return report(exitInterrupted, fmt.Errorf("%s: interrupted", o.name), o)
	case err != nil:
		return report(exitLabFailed, err, o)
	case code != 0:
		return report(code, nil, o)
	}
	return 0
}

var errTimeLimit = errors.New("time limit")

func runIn(ctx context.Context, o options) (int, error) {
	switch {
	case o.kind == kindHost:
		return runOnHost(ctx, o)
	case len(o.cluster.guests) > 0:
		return runWithGuests(ctx, o)
	default:
		return runInGuest(ctx, o)
	}
}

// printLeftOut shows what the scenarios could not do on this kernel: nothing is skipped in silence.
func printLeftOut(o options) {
	if data, err := os.ReadFile(filepath.Join(o.artefacts, "left-out.txt")); err == nil {
		fmt.Fprintf(os.Stderr, "lab: %s left something out:\n%s", o.name, data)
	}
}

func report(code int, err error, o options) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	fmt.Fprintf(os.Stderr, "lab: %s: exit code %d; artefacts in %s\n", o.name, code, o.artefacts)
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "lab:", err)
	return exitLabFailed
}

// grace is how long a program or guest may take to end by itself.
const grace = 5 * time.Second
