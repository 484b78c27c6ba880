package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/lab/vm"
)

const kindHost = "host"

type options struct {
	kind      string // vm.UML, vm.QEMU or kindHost
	name      string
	mem       string
	timeout   time.Duration
	artefacts string // directory of this run
	root      string // of the repository
	cwd       string
	argv      []string
	cluster   clusterSpec
}

const usage = `run [flags] PROGRAM [ARGS...]
Runs PROGRAM in a lab guest, in this directory, and returns its exit code. Also: go test -tags lab -exec hack/lab/run ./test/lab/...

With a file lab.guests in this directory, PROGRAM runs outside of several guests and drives them (README.md).

LAB=uml|qemu|host  LAB_MEM=2G  LAB_TIMEOUT=10m  LAB_ARTEFACTS=DIR (default: artefacts/ of the repository)
`

func parseOptions(args []string) (options, error) {
	o := options{root: os.Getenv("LAB_ROOT")}
	limit, err := time.ParseDuration(env("LAB_TIMEOUT", "10m"))
	if err != nil {
		return o, fmt.Errorf("LAB_TIMEOUT: %w", err)
	}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(fs.Output(), usage); fs.PrintDefaults() }
	fs.StringVar(&o.kind, "lab", env("LAB", vm.UML), "kind of guest: uml, qemu, or host for none")
	fs.StringVar(&o.mem, "mem", env("LAB_MEM", "2G"), "memory of a guest")
	fs.DurationVar(&o.timeout, "timeout", limit, "time limit")
	fs.StringVar(&o.name, "name", "", "name of the run, for its artefacts (default: the program's)")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.argv = fs.Args()
	return o, o.complete()
}

func (o *options) complete() error {
	switch {
	case o.kind != vm.UML && o.kind != vm.QEMU && o.kind != kindHost:
		return fmt.Errorf("LAB=%s: must be uml, qemu or host", o.kind)
	case len(o.argv) == 0:
		return errors.New("no program given; -h for help")
	case o.root == "":
		return errors.New("LAB_ROOT is not set: start me through hack/lab/run")
	case os.Geteuid() != 0:
		return errors.New("must be root: inside, the host's files keep their owners")
	}
	var err error
	if o.cwd, err = os.Getwd(); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	if o.cluster, err = findGuests(o.cwd, o.mem); err != nil {
		return err
	}
	if o.kind == kindHost && len(o.cluster.guests) > 0 {
		return errors.New("LAB=host: several guests need LAB=uml or qemu")
	}
	if o.name == "" {
		o.name = strings.TrimSuffix(filepath.Base(o.argv[0]), ".test")
	}
	if o.artefacts, err = filepath.Abs(filepath.Join(env("LAB_ARTEFACTS", o.root+"/artefacts"), o.name)); err != nil {
		return fmt.Errorf("artefacts: %w", err)
	}
	return o.cleanArtefacts()
}

// namespaces are those that the program needs, as clone(2) has them.
func (o *options) namespaces() int {
	switch {
	case o.kind == kindHost:
		return unix.CLONE_NEWNS
	case len(o.cluster.guests) > 0:
		return unix.CLONE_NEWNS | unix.CLONE_NEWNET
	default:
		return 0
	}
}

// cleanArtefacts removes what an earlier run of the same name left, so that nobody reads old results as new ones.
func (o *options) cleanArtefacts() error {
	if err := os.RemoveAll(o.artefacts); err != nil {
		return fmt.Errorf("artefacts: %w", err)
	}
	if err := os.MkdirAll(o.artefacts, 0o755); err != nil {
		return fmt.Errorf("artefacts: %w", err)
	}
	return nil
}

// programEnv is the part of our environment that the program gets, and what the lab adds.
func (o *options) programEnv() []string {
	set := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
		"LAB_BIN=" + o.root + "/bin",
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if passed(name) {
			set = append(set, kv)
		}
	}
	return append(set, "LAB="+o.kind, "LAB_INSIDE=1", "LAB_ARTEFACTS="+o.artefacts)
}

func passed(name string) bool {
	for _, prefix := range []string{"LAB_", "CSI_", "PORTBIND_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "TERM", "GOTRACEBACK", "GODEBUG", "GORACE", "GOCOVERDIR", "COLUMNS", "NO_COLOR":
		return true
	}
	return false
}

func env(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
