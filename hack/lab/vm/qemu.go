package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portbind/portbind/hack/lab/guest"
)

// initialModules are what a guest needs before it sees our root file system; what they need themselves comes along.
var initialModules = []string{"9p", "9pnet_virtio", "virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "overlay", "ext4"}

// prepareQEMU describes a guest with Debian's kernel over our root file system, read-only by 9p. Its initial ram disk
// holds this very program, the first modules and the configuration.
func prepareQEMU(ctx context.Context, spec Spec) (transport, error) {
	release, err := debianKernel()
	if err != nil {
		return transport{}, err
	}
	c := spec.config()
	c.Channel, c.DiskPrefix, c.Initrd = "agent", "/dev/vd", true
	socket := filepath.Join(spec.Scratch, "channel")
	args := []string{
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", spec.Mem, "-nodefaults", "-display", "none", "-no-reboot",
		"-serial", "stdio", "-device", "virtio-rng-pci",
		"-kernel", "/boot/vmlinuz-" + release, "-initrd", filepath.Join(spec.Scratch, "initrd"),
		"-append", "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off net.ifnames=0",
		"-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path=" + socket, "-device", "virtserialport,chardev=agent,name=agent",
	}
	args = append(args, qemuDevices(spec, &c)...)
	if err := writeInitrd(ctx, spec, c, release); err != nil {
		return transport{}, err
	}
	return qemuProcess(socket, args)
}

func qemuDevices(spec Spec, c *guest.Config) []string {
	var args []string
	for i, dir := range spec.Shared {
		tag := fmt.Sprintf("shared%d", i)
		c.Mounts = append(c.Mounts, guest.Mount{Type: "9p", Tag: tag, Path: dir})
		args = append(args, "-virtfs", "local,path="+dir+",mount_tag="+tag+",security_model=none,multidevs=remap")
	}
	for _, disk := range spec.images() {
		args = append(args, "-drive", "if=virtio,format=raw,file="+disk)
	}
	for i, nic := range spec.NICs {
		c.NICs = append(c.NICs, spec.guestNIC(i, fmt.Sprintf("eth%d", i)))
		id := fmt.Sprintf("net%d", i)
		args = append(args, "-netdev", "tap,id="+id+",ifname="+nic.Tap+",script=no,downscript=no",
			"-device", "virtio-net-pci,netdev="+id+",mac="+nic.MAC)
	}
	return args
}

// debianKernel finds the newest installed kernel of Debian.
func debianKernel() (string, error) {
	images, err := filepath.Glob("/boot/vmlinuz-*-amd64")
	if err != nil || len(images) == 0 {
		return "", errors.New("no Debian kernel in /boot: run hack/lab/setup qemu")
	}
	slices.SortFunc(images, func(a, b string) int { return strings.Compare(versionKey(a), versionKey(b)) })
	return strings.TrimPrefix(images[len(images)-1], "/boot/vmlinuz-"), nil
}

// versionKey makes version numbers comparable as text.
func versionKey(s string) string {
	var key strings.Builder
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		fmt.Fprintf(&key, "%010s.", part)
	}
	return key.String()
}

func writeInitrd(ctx context.Context, spec Spec, c guest.Config, release string) error {
	config, err := writeConfig(spec, c)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("own path: %w", err)
	}
	files := map[string]string{"init": self, "config.json": config}
	modules, err := moduleFiles(ctx, release, initialModules)
	if err != nil {
		return err
	}
	var order []string
	for _, path := range modules {
		name := filepath.Base(path)
		order = append(order, name)
		files["modules/"+name] = path
	}
	orderFile := filepath.Join(spec.Scratch, "order")
	if err := os.WriteFile(orderFile, []byte(strings.Join(order, "\n")), 0o600); err != nil {
		return fmt.Errorf("initial ram disk: %w", err)
	}
	files["modules/order"] = orderFile
	return writeCPIO(filepath.Join(spec.Scratch, "initrd"), files)
}

// moduleFiles asks modprobe which files to load, in their order.
func moduleFiles(ctx context.Context, release string, names []string) ([]string, error) {
	args := append([]string{"-S", release, "--show-depends", "-a"}, names...)
	out, err := exec.CommandContext(ctx, "modprobe", args...).Output() //nolint:gosec // our names
	if err != nil {
		return nil, fmt.Errorf("modules of %s: %w", release, err)
	}
	var files []string
	for line := range bytes.Lines(out) {
		if f := strings.Fields(string(line)); len(f) > 1 && f[0] == "insmod" && !slices.Contains(files, f[1]) {
			files = append(files, f[1])
		}
	}
	return files, nil
}

// qemuProcess listens for the agent's channel, which qemu connects to when it starts.
func qemuProcess(socket string, args []string) (transport, error) {
	_ = os.Remove(socket) // of an earlier boot
	l, err := net.Listen("unix", socket)
	if err != nil {
		return transport{}, fmt.Errorf("guest channel: %w", err)
	}
	cmd := exec.Command("qemu-system-x86_64", args...) //nolint:gosec // what the lab is for
	return transport{cmd: cmd, channel: &lateConn{l: l}, started: func() {}}, nil
}
