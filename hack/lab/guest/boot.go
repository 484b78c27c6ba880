package guest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Init is the guest's first process. It never returns: when the agent ends, the guest powers off.
func Init() {
	err := boot()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab: guest does not start:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	os.Exit(1)
}

func boot() error {
	if err := os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	path := os.Getenv(ConfigEnv)
	if path == "" {
		path = "/config.json" // in an initial ram disk
	}
	c, err := readConfig(path)
	if err != nil {
		return err
	}
	if err := overlayRoot(c); err != nil {
		return err
	}
	if err := mountAll(append(systemMounts(), outsideMounts(c)...)); err != nil {
		return err
	}
	if err := disks(c); err != nil {
		return err
	}
	if err := settle(c); err != nil {
		return err
	}
	if err := loadModules(c.Modules); err != nil {
		return err
	}
	if err := mountAll([]mount{{"configfs", "configfs", "/sys/kernel/config", 0, ""}}); err != nil {
		return err
	}
	// After the modules: what they announce before costs no forks in udevd.
	if err := run("/lib/systemd/systemd-udevd", "--daemon"); err != nil {
		return err
	}
	if err := configureNICs(c.NICs); err != nil {
		return err
	}
	return superviseAgent(c.Channel)
}

// overlayRoot makes the outside's root file system the lower, read-only layer of ours and moves there. It is a move
// and chroot of the first process, not of a child, so that the kernel's own helpers (modprobe) and setns(2) into this
// mount namespace see the same root.
func overlayRoot(c Config) error {
	lower, err := lowerRoot(c)
	if err != nil {
		return err
	}
	if err := mountAll([]mount{{"tmpfs", "tmpfs", "/mnt", 0, "size=90%"}}); err != nil {
		return err
	}
	for _, dir := range []string{"/mnt/up", "/mnt/work", "/mnt/root"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
	}
	opts := "lowerdir=" + lower + ",upperdir=/mnt/up,workdir=/mnt/work"
	if err := unix.Mount("overlay", "/mnt/root", "overlay", 0, opts); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	return errors.Join(os.Chdir("/mnt/root"), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), os.Chdir("/"))
}

func lowerRoot(c Config) (string, error) {
	if c.Initrd {
		return ninePRoot()
	}
	dir, err := moduleDir()
	if err != nil {
		return "", err
	}
	m, err := openModules(dir)
	if err != nil {
		return "", err
	}
	return "/", m.load("overlay")
}

// ninePRoot loads the initial ram disk's modules in their order and mounts the outside's root file system.
func ninePRoot() (string, error) {
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return "", fmt.Errorf("initial modules: %w", err)
	}
	for name := range strings.FieldsSeq(string(order)) {
		if err := insmod("/modules/"+name, ""); err != nil {
			return "", err
		}
	}
	if err := errors.Join(os.MkdirAll("/host", 0o755), os.MkdirAll("/mnt", 0o755)); err != nil {
		return "", err
	}
	return "/host", mountAll([]mount{{"9p", "root", "/host", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"}})
}

// moduleDir finds the modules of the running kernel: Debian keeps those of User-Mode Linux apart.
func moduleDir() (string, error) {
	release, err := kernelRelease()
	if err != nil {
		return "", err
	}
	for _, dir := range []string{"/lib/modules/" + release, "/usr/lib/uml/modules/" + release} {
		if _, err := os.Stat(dir + "/modules.dep"); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no modules of kernel %s: run hack/lab/setup", release)
}

func loadModules(names []string) error {
	dir, err := moduleDir()
	if err != nil {
		return err
	}
	m, err := openModules(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.load(name); err != nil {
			return err
		}
	}
	return nil
}

// settle makes the guest a host of its own: name, iSCSI state, device links.
func settle(c Config) error {
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	name := "InitiatorName=iqn.2026-11.io.portbind.lab:" + c.Hostname + "\n"
	hosts := "127.0.0.1 localhost " + c.Hostname + "\n"
	err := errors.Join(
		persist(c),
		os.WriteFile("/etc/hostname", []byte(c.Hostname+"\n"), 0o644),
		os.WriteFile("/etc/hosts", []byte(hosts), 0o644),
		os.WriteFile("/etc/iscsi/initiatorname.iscsi", []byte(name), 0o600),
		os.RemoveAll("/etc/multipath.conf"),
	)
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	} {
		if e := os.Symlink(target, link); e != nil && !errors.Is(e, os.ErrExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// superviseAgent runs the agent as a child, so that the first process can reap orphans without taking away the
// children that the agent waits for.
func superviseAgent(channel string) error {
	agent := exec.Command("/proc/self/exe", AgentArg, channel)
	agent.Stdout, agent.Stderr = os.Stdout, os.Stderr
	if err := agent.Start(); err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid == agent.Process.Pid {
			return err
		}
	}
}

func run(argv ...string) error {
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil { //nolint:gosec // our own programs
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}
