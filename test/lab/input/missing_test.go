//go:build lab

package input

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestMissingParts stages on a node that lacks a program, a daemon or a kernel module: FAILED_PRECONDITION says what to
// install or start, nothing is left, and the same call works once it is there.
func TestMissingParts(t *testing.T) {
	s := newStack(t)
	for name, c := range map[string]struct {
		fsType string
		remove func(t *testing.T) (restore func())
		words  []string
	}{
		"iscsiadm":         {"ext4", hide("iscsiadm"), []string{"iscsiadm", "open-iscsi", "iscsi-initiator-utils"}},
		"iscsid":           {"ext4", stopped(s.Initiator.ISCSID), []string{"iscsid", "open-iscsi"}},
		"multipathd":       {"ext4", stopped(s.Initiator.Multipathd), []string{"multipathd", "multipath-tools"}},
		"mkfs.ext4":        {"ext4", hide("mkfs.ext4"), []string{"mkfs.ext4", "e2fsprogs"}},
		"mkfs.xfs":         {"xfs", hide("mkfs.xfs"), []string{"mkfs.xfs", "xfsprogs"}},
		"module iscsi_tcp": {"ext4", unloaded("iscsi_tcp"), []string{"iscsi_tcp"}},
		"module multipath": {"ext4", unloaded("dm_multipath"), []string{"dm-multipath"}},
	} {
		t.Run(name, func(t *testing.T) {
			capability := withFlags()
			capability.GetMount().FsType = c.fsType
			v := s.Create("m-"+strings.NewReplacer(".", "-", " ", "-", "_", "-").Replace(name), 512*mib, capability, nil)
			must(t, v.ControllerPublish(within(t, time.Minute)))
			s.Eventually(20*time.Second, "unused sessions to log out", func() bool { return len(labenv.Sessions()) == 0 })
			restore := c.remove(t)
			defer restore()
			start := time.Now()
			refusal(t, v.Stage(within(t, time.Minute)), codes.FailedPrecondition, c.words...)
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("it took %v to say so", took)
			}
			if m := labenv.Maps(); len(m) > 0 {
				t.Errorf("left over: maps %v", m)
			}
			restore()
			must(t, v.Stage(within(t, time.Minute)))
			must(t, v.Unstage(within(t, time.Minute)))
			must(t, v.ControllerUnpublish(within(t, time.Minute)))
			must(t, v.Delete(within(t, time.Minute)))
		})
	}
	s.Tidy()
}

// hide makes a program unfindable by a device file in its place.
func hide(program string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		path, err := exec.LookPath(program)
		must(t, err)
		path, err = filepath.EvalSymlinks(path)
		must(t, err)
		// The symlinks that lead there (mkfs.ext4 to mke2fs) hide with it.
		must(t, unix.Mount("/dev/null", path, "", unix.MS_BIND, ""))
		return once(func() { must(t, unix.Unmount(path, 0)) })
	}
}

func stopped(d *labenv.Daemon) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		d.Stop()
		return once(d.Start)
	}
}

// unloaded takes a module out of the kernel, and its file away.
func unloaded(module string) func(t *testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		var users []string
		if module == "dm_multipath" {
			users = []string{"dm_service_time", "dm_round_robin", "dm_queue_length"}
		}
		for _, m := range append(users, module) {
			if _, err := os.Stat("/sys/module/" + m); err == nil {
				run(t, "modprobe", "-r", m)
			}
		}
		path := strings.TrimSpace(run(t, "modinfo", "-n", module))
		must(t, unix.Mount("/dev/null", path, "", unix.MS_BIND, ""))
		return once(func() { must(t, unix.Unmount(path, 0)); run(t, "modprobe", "-a", module) })
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.CommandContext(within(t, time.Minute), argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// once: restoring is done before the retry, and again by defer in case that the test failed before.
func once(f func()) func() {
	done := false
	return func() {
		if !done {
			done = true
			f()
		}
	}
}
