//go:build lab

package labenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
)

// Feature is something of the kernel that a scenario needs and not every lab has.
type Feature struct {
	Name  string
	probe func() error
}

// Features.
var (
	NetEm       = Feature{"netem (silent packet drop)", module("sch_netem")}
	TBF         = Feature{"tbf (traffic shaping)", module("sch_tbf")}
	Bonding     = Feature{"bonding", module("bonding")}
	DMMultipath = Feature{"dm-multipath", module("dm_multipath")}
	DMThin      = Feature{"dm-thin", module("dm_thin_pool")}
	LIO         = Feature{"LIO iSCSI target", module("iscsi_target_mod")}
	ISCSI       = Feature{"iSCSI over TCP", module("iscsi_tcp")}
	ALUAHandler = Feature{"ALUA device handler", module("scsi_dh_alua")}
	SockDestroy = Feature{"SOCK_DESTROY (INET_DIAG_DESTROY)", probeSockDestroy}
	SMP         = Feature{"more than one CPU", probeSMP}
)

// Require fails the test when the kernel lacks a feature.
func Require(t *testing.T, features ...Feature) {
	t.Helper()
	for _, f := range features {
		if err := f.probe(); err != nil {
			t.Fatalf("this kernel lacks %s: %v", f.Name, err)
		}
	}
}

// Optional skips the test when the kernel lacks a feature, and says so in the run's summary (left-out.txt among the
// artefacts, printed by hack/lab/run at the end).
func Optional(t *testing.T, features ...Feature) {
	t.Helper()
	for _, f := range features {
		if err := f.probe(); err != nil {
			leaveOut(t, f, err)
		}
	}
}

func leaveOut(t *testing.T, f Feature, reason error) {
	t.Helper()
	line := fmt.Sprintf("left out: %s: this kernel (LAB=%s) lacks %s: %v", t.Name(), os.Getenv("LAB"), f.Name, reason)
	file, err := os.OpenFile(filepath.Join(os.Getenv("LAB_ARTEFACTS"), "left-out.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, line); err != nil {
		t.Fatal(err)
	}
	t.Skip(line)
}

// module probes for a module that is loaded, built in, or can be loaded.
func module(name string) func() error {
	return func() error {
		if _, err := os.Stat("/sys/module/" + name); err == nil {
			return nil
		}
		if out, err := exec.CommandContext(context.Background(), "modprobe", name).CombinedOutput(); err != nil {
			return fmt.Errorf("module %s: %w: %s", name, err, out)
		}
		return nil
	}
}

// probeSockDestroy destroys a connection of its own over the loopback.
func probeSockDestroy() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer conn.Close()
	return netlink.SocketDestroy(conn.LocalAddr(), conn.RemoteAddr())
}

func probeSMP() error {
	data, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil || string(data) == "0\n" {
		return errors.Join(err, errors.New("one CPU"))
	}
	return nil
}
