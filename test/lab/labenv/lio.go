//go:build lab

package labenv

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const configfs = "/sys/kernel/config/target"

func (e *Env) mountConfigfs() {
	e.T.Helper()
	if _, err := os.Stat(configfs + "/iscsi"); err == nil {
		return
	}
	e.Run("modprobe", "-a", "configfs", "iscsi_target_mod", "target_core_iblock", "target_core_file")
	if _, err := os.Stat(configfs); errors.Is(err, fs.ErrNotExist) {
		e.Run("mount", "-t", "configfs", "configfs", "/sys/kernel/config")
	}
	e.must(os.MkdirAll(configfs+"/iscsi", 0o755))
}

// cleanLIO has everything torn down at the test's end: once, and so after what was started since the first target, which may have its
// volumes in use when a test fails.
func (e *Env) cleanLIO() {
	e.T.Helper()
	if !e.cleansLIO {
		e.cleansLIO = true
		e.T.Cleanup(e.tearDownLIO)
	}
}

// tearDownLIO takes all targets and backstores away, leaves first. configfs removes attributes and default groups
// with their directory.
func (e *Env) tearDownLIO() {
	tpgs := glob(configfs + "/iscsi/iqn.*/tpgt_*")
	for _, dir := range tpgs {
		_ = os.WriteFile(dir+"/enable", []byte("0"), 0o600)
	}
	const tpg = "/iscsi/iqn.*/tpgt_*"
	for _, pattern := range []string{
		tpg + "/np/*", tpg + "/acls/*/lun_*/!link", tpg + "/acls/*/lun_*", tpg + "/acls/*",
		tpg + "/lun/lun_*/!link", tpg + "/lun/lun_*", tpg, "/iscsi/iqn.*", "/core/*_*/*/alua/tpgt_*", "/core/*_*/!dir", "/core/*_*",
	} {
		for _, path := range expand(configfs + pattern) {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				e.T.Errorf("cleanup: %v", err)
			}
		}
	}
}

// expand is glob, where a last element of !link or !dir stands for all of that kind.
func expand(pattern string) []string {
	const link, dir = "!link", "!dir"
	var want fs.FileMode
	switch {
	case strings.HasSuffix(pattern, link):
		pattern, want = pattern[:len(pattern)-len(link)]+"*", fs.ModeSymlink
	case strings.HasSuffix(pattern, dir):
		pattern, want = pattern[:len(pattern)-len(dir)]+"*", fs.ModeDir
	default:
		return glob(pattern)
	}
	var all []string
	for _, path := range glob(pattern) {
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() == want {
			all = append(all, path)
		}
	}
	return all
}

// inTargetNS calls f on a thread in the target's network namespace: LIO's portals listen in the namespace of the
// thread that made them, and `ip netns exec` would hide configfs.
func (e *Env) inTargetNS(f func() error) {
	e.T.Helper()
	e.must(callInTargetNS(f))
}

func callInTargetNS(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			// The first thread does not end, and /proc/net would be the target's for the whole process.
			done <- callInTargetNS(f)
			runtime.UnlockOSThread()
			return
		}
		ns, err := netns.GetFromPath(targetNS)
		if err == nil {
			err = netns.Set(ns)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// DialTarget connects to an address, such as a loopback one, from within the target's network namespace.
func DialTarget(network, address string) (conn net.Conn, err error) {
	err = callInTargetNS(func() error {
		conn, err = net.Dial(network, address)
		return err
	})
	return conn, err
}
