package vm

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/hack/lab/guest"
)

// pipePair is the channel to a UML guest: what we write arrives on its first serial line and the other way round.
type pipePair struct {
	io.Reader
	io.Writer
}

// prepareUML describes a User-Mode Linux process over our root file system, read-only by hostfs. The guest's first
// process is this very program.
func prepareUML(spec Spec) (transport, error) {
	self, err := os.Executable()
	if err != nil {
		return transport{}, fmt.Errorf("own path: %w", err)
	}
	c := spec.config()
	c.Channel, c.DiskPrefix = "/dev/ttyS0", "/dev/ubd"
	for _, dir := range spec.Shared {
		c.Mounts = append(c.Mounts, guest.Mount{Type: "hostfs", Path: dir})
	}
	args := []string{
		"mem=" + spec.Mem, "umid=" + spec.Name, "uml_dir=" + spec.Scratch,
		"root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=" + self,
		"con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:3,fd:4", "console=tty0", "printk.time=1",
	}
	for i, disk := range spec.images() {
		args = append(args, fmt.Sprintf("ubd%c=%s", 'a'+i, disk))
	}
	for i, nic := range spec.NICs {
		args = append(args, fmt.Sprintf("vec%d:transport=tap,ifname=%s,mac=%s", i, nic.Tap, nic.MAC))
		c.NICs = append(c.NICs, spec.guestNIC(i, fmt.Sprintf("vec%d", i)))
	}
	config, err := writeConfig(spec, c)
	if err != nil {
		return transport{}, err
	}
	return umlProcess(append(args, guest.ConfigEnv+"="+config), filepath.Join(filepath.Dir(self), "preload.so"))
}

// umlProcess runs linux.uml with a library of ours (hack/lab/preload.c says what for).
func umlProcess(args []string, preload string) (transport, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return transport{}, fmt.Errorf("guest channel: %w", err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return transport{}, fmt.Errorf("guest channel: %w", err)
	}
	cpu, release, err := takeCPU()
	if err != nil {
		return transport{}, err
	}
	argv := append([]string{SuperviseArg, strconv.Itoa(cpu), "linux.uml"}, args...)
	cmd := exec.Command("/proc/self/exe", argv...) //nolint:gosec // what the lab is for
	cmd.ExtraFiles = []*os.File{inR, outW}
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+preload) // this program itself is static
	return transport{cmd: cmd, channel: pipePair{outR, inW}, started: func() { release(); _ = inR.Close(); _ = outW.Close() }}, nil
}

// SuperviseArg makes our program call Supervise.
const SuperviseArg = "supervise"

// Supervise is the first process of a guest's pid namespace: it runs the guest and, by ending with it, takes along the
// helper processes that a killed UML leaves. UML cannot be the first process itself: after a panic it would ignore its
// own SIGABRT and spin. Its arguments are the guest's CPU, and the guest's command.
func Supervise(argv []string) error {
	if err := keepToCPU(argv[0]); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("no core dumps: %w", err)
	}
	cmd := exec.Command(argv[1], argv[2:]...) //nolint:gosec // what the lab is for
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "in"), os.NewFile(4, "out")}
	return cmd.Run()
}
