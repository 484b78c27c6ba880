package member

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/machine"
)

// data is where a node's first disk is mounted: what a real node keeps across reboots besides what the lab keeps anyway.
const data = "/data"

// noFlush: what the guest wrote survives the guest's power failure anyway, in the memory of the machine that it runs on.
const noFlush = "nobarrier"

// Node makes the machine a Kubernetes node, with the daemons of an initiator, and runs it until ctx ends. Others are
// the indices of the other nodes, whose pods are to be reached.
func (m *Member) Node(ctx context.Context, others []int) error {
	m.daemons, ctx = errgroup.WithContext(ctx)
	steps := []struct {
		name string
		work func(context.Context) error
	}{
		{"disk", m.disk},
		{"kernel settings", kernel},
		{"routes", func(ctx context.Context) error { return routes(ctx, others) }},
		{"configuration", func(context.Context) error { return write(m.nodeFiles()) }},
	}
	for _, s := range steps {
		if err := s.work(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	m.daemon(ctx, "iscsid", "-f")
	m.daemon(ctx, "multipathd", "-d", "-v2")
	m.containerd(ctx)
	if err := m.answers(ctx, "iscsid", "@ISCSIADM_ABSTRACT_NAMESPACE"); err != nil {
		return err
	}
	if err := m.answers(ctx, "multipathd", "@/org/kernel/linux/storage/multipathd"); err != nil {
		return err
	}
	if err := m.answers(ctx, "containerd", containerdSocket); err != nil {
		return err
	}
	if err := m.Import(ctx); err != nil {
		return err
	}
	m.daemon(ctx, m.Layout.Program("kubelet"), "--config="+kubeletConfig, "--kubeconfig="+m.Layout.Kubeconfig(m.Name),
		"--hostname-override="+m.Name, "--node-ip="+layout.NodeAddress(m.Index), "--v=2")
	m.Log.Say("kubelet started")
	return m.daemons.Wait()
}

// disk mounts the first disk and puts on it what would not work on an overlay. A blank disk gets a file system, without
// discarding first: that takes User-Mode Linux 18 s.
func (m *Member) disk(ctx context.Context) error {
	const device = "/dev/disk/lab/0"
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	blank := false
	if err := unix.Mount(device, data, "ext4", 0, noFlush); err != nil {
		blank = true
		if err := run(ctx, "mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", device); err != nil {
			return err
		}
		if err := unix.Mount(device, data, "ext4", 0, noFlush); err != nil {
			return fmt.Errorf("mount %s: %w", device, err)
		}
	}
	// What gets mounted below kubelet's directory is not to appear here as well.
	if err := unix.Mount("", data, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private %s: %w", data, err)
	}
	for _, dir := range []string{containerdRoot, "/var/lib/kubelet", "/var/log/pods"} {
		home := filepath.Join(data, strings.ReplaceAll(dir, "/", "_"))
		if err := errors.Join(os.MkdirAll(home, 0o755), os.MkdirAll(dir, 0o755)); err != nil {
			return err
		}
		if err := unix.Mount(home, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil || !blank {
		return err
	}
	return m.unpackBaked(ctx)
}

// kernel sets what kubelet and the network of pods need.
func kernel(context.Context) error {
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	// User-Mode Linux does not tell the CPU's clock, and cAdvisor insists on one.
	const withClock = "/run/cpuinfo"
	return errors.Join(
		write(map[string]string{
			"/sys/fs/cgroup/cgroup.subtree_control": "+cpu +memory +io +pids",
			"/proc/sys/net/ipv4/ip_forward":         "1",
			withClock:                               strings.TrimRight(string(cpuinfo), "\n") + "\ncpu MHz\t\t: 2400.000\n\n",
		}),
		unix.Mount(withClock, "/proc/cpuinfo", "", unix.MS_BIND, ""),
	)
}

// routes lead to the control plane, to the API server's service address, and to the other nodes' pods.
func routes(ctx context.Context, others []int) error {
	commands := [][]string{
		{"ip", "route", "replace", "default", "via", machine.Outside},
		{"ip", "route", "replace", layout.ServiceCIDR, "via", machine.Outside},
	}
	for _, i := range others {
		commands = append(commands, []string{"ip", "route", "replace", layout.PodSubnet(i), "via", layout.NodeAddress(i)})
	}
	for _, argv := range commands {
		if err := run(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

// Import gives containerd the images of the run that it does not have yet.
func (m *Member) Import(ctx context.Context) error {
	archives, err := filepath.Glob(filepath.Join(m.Layout.Images(), "*.tar"))
	if err != nil {
		return err
	}
	for _, a := range archives {
		if _, err := os.Stat(filepath.Join(imported, filepath.Base(a))); err == nil {
			continue
		}
		if err := m.importArchive(ctx, a); err != nil {
			return err
		}
		if err := mark(filepath.Base(a)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Member) containerd(ctx context.Context) {
	m.daemon(ctx, m.Layout.Debian("usr/bin/containerd"), "--config", containerdConfig)
}

func (m *Member) importArchive(ctx context.Context, archive string) error {
	return m.Log.Step("images of "+filepath.Base(archive), func() error {
		return run(ctx, m.Layout.Debian("usr/bin/ctr"), "-n", "k8s.io", "images", "import", archive)
	})
}

// imported has an empty file for each archive that containerd has on this disk.
const imported = data + "/imported"

func mark(archive string) error {
	return write(map[string]string{filepath.Join(imported, archive): ""})
}
