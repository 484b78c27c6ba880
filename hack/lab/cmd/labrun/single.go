package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/portbind/portbind/hack/lab/vm"
	"github.com/portbind/portbind/hack/lab/wire"
)

// modules are loaded in every guest at boot. What is missing is noticed by the scenarios that require it.
var modules = []string{
	"configfs", "scsi_mod", "sd_mod", "sg", "loop", "iscsi_tcp", "dm-mod", "dm-multipath", "dm-service-time", "dm-round-robin",
	"dm-queue-length", "dm-thin-pool", "dm-snapshot", "iscsi_target_mod", "target_core_mod", "target_core_iblock",
	"target_core_file", "veth", "bridge", "sch_netem", "sch_tbf", "bonding max_bonds=0", "ipv6",
}

func runInGuest(ctx context.Context, o options) (int, error) {
	scratch, err := os.MkdirTemp("", "lab-")
	if err != nil {
		return 0, fmt.Errorf("scratch: %w", err)
	}
	defer os.RemoveAll(scratch)
	g, err := vm.Boot(ctx, vm.Spec{
		Kind: o.kind, Name: "lab", Mem: o.mem, Modules: modules, Shared: []string{o.artefacts},
		Console: filepath.Join(o.artefacts, "console.log"), Scratch: scratch,
	})
	if err != nil {
		return 0, err
	}
	code, err := runProgram(ctx, g, o)
	if err != nil || code != 0 {
		saveState(g, o, "state.txt")
	}
	if e := g.Halt(grace, o.artefacts); err == nil && e != nil {
		err = e
	}
	return code, err
}

// runProgram runs the program in the guest until it ends, the guest dies, or ctx does.
func runProgram(ctx context.Context, g *vm.Guest, o options) (int, error) {
	st, err := g.Open(wire.Request{Op: wire.OpExec, Argv: o.argv, Env: o.programEnv(), Dir: o.cwd})
	if err != nil {
		return 0, err
	}
	go func() {
		_, _ = io.Copy(st.Writer(wire.Stdin), os.Stdin)
		_ = st.Send(wire.EOF, nil)
	}()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ctx.Done():
			endProgram(ctx, st, g, done)
		case <-done:
		}
	}()
	r, err := st.Wait(os.Stdout, os.Stderr)
	if err != nil {
		return 0, fmt.Errorf("guest died without an exit code (%w):\n%s", err, g.ConsoleTail())
	}
	if r.Error != "" {
		fmt.Fprintln(os.Stderr, "lab:", o.argv[0]+":", r.Error)
	}
	return r.Code, nil
}

// endSignal is how a program is asked to end: at the time limit with SIGQUIT, which makes a Go program tell where it
// hangs.
func endSignal(ctx context.Context) syscall.Signal {
	if errors.Is(context.Cause(ctx), errTimeLimit) {
		return syscall.SIGQUIT
	}
	return syscall.SIGTERM
}

func endProgram(ctx context.Context, st *wire.Stream, g *vm.Guest, done <-chan struct{}) {
	for _, s := range []syscall.Signal{endSignal(ctx), syscall.SIGKILL} {
		_ = st.Send(wire.Signal, []byte{byte(s)})
		select {
		case <-done:
			return
		case <-time.After(grace):
		}
	}
	g.Kill() // a program in D state, or a guest that is gone
}

// stateScript shows what a failed run left: it must work with half of the tools hanging, so each has its own limit.
const stateScript = `
for c in "dmesg" "ps axo pid,ppid,stat,wchan:24,args" "ip -br addr" "ip -n tgt -br addr" "ss -tanp" \
  "lsblk -o NAME,SIZE,TYPE,STATE,MOUNTPOINT" \
  "iscsiadm -m session -P 1" "multipathd show maps json" "dmsetup table" "dmsetup status" "cat /proc/mounts" "losetup -l" "lvs -a"; do
  echo "=== $c"; timeout 5 $c 2>&1
done`

func saveState(g *vm.Guest, o options, name string) {
	f, err := os.Create(filepath.Join(o.artefacts, name))
	if err != nil {
		return
	}
	defer f.Close()
	st, err := g.Open(wire.Request{Op: wire.OpExec, Argv: []string{"/bin/bash", "-c", stateScript}, Env: o.programEnv(), Dir: "/"})
	if err != nil {
		return
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _, _ = st.Wait(f, io.Discard) }()
	select {
	case <-ended:
	case <-time.After(4 * grace):
	}
}
