//go:build lab

package labenv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// InitiatorName is the guest's own, in /etc/iscsi/initiatorname.iscsi.
func InitiatorName() string {
	return strings.TrimPrefix(read("/etc/iscsi/initiatorname.iscsi"), "InitiatorName=")
}

// DefaultMultipathConf is /etc/multipath.conf where a test gives none: Debian's defaults (find_multipaths strict), but
// for a checker that looks more often, as installed by the project's documentation.
const DefaultMultipathConf = `defaults {
	user_friendly_names no
	polling_interval 2
}
`

// InitiatorOptions configures the initiator's daemons.
type InitiatorOptions struct {
	MultipathConf string            // /etc/multipath.conf; default DefaultMultipathConf
	ConfD         map[string]string // files in /etc/multipath/conf.d; default: the project's deploy/multipath/*.conf
}

// Initiator is iscsid and multipathd.
type Initiator struct {
	ISCSID     *Daemon
	Multipathd *Daemon
	e          *Env
}

// StartInitiator starts iscsid and multipathd and returns when both answer. At cleanup, sessions are logged out, maps
// removed and records deleted, whatever the test left of them.
func (e *Env) StartInitiator(o InitiatorOptions) *Initiator {
	e.T.Helper()
	e.writeMultipathConf(o)
	e.T.Cleanup(func() { e.removeRecords() })
	i := &Initiator{e: e}
	i.ISCSID = e.Daemon("iscsid", func() bool { return answers("@ISCSIADM_ABSTRACT_NAMESPACE") }, "iscsid", "-f")
	i.Multipathd = e.Daemon("multipathd", multipathdReady, "multipathd", "-d", "-v2")
	e.T.Cleanup(i.release)
	return i
}

func (e *Env) writeMultipathConf(o InitiatorOptions) {
	e.T.Helper()
	if o.MultipathConf == "" {
		o.MultipathConf = DefaultMultipathConf
	}
	if o.ConfD == nil {
		o.ConfD = e.projectConfD()
	}
	e.must(os.MkdirAll("/etc/multipath/conf.d", 0o755))
	e.must(os.WriteFile("/etc/multipath.conf", []byte(o.MultipathConf), 0o600))
	for name, text := range o.ConfD {
		e.must(os.WriteFile(filepath.Join("/etc/multipath/conf.d", name), []byte(text), 0o600))
	}
}

// projectConfD is what the project installs on nodes.
func (e *Env) projectConfD() map[string]string {
	files, err := filepath.Glob(filepath.Join(os.Getenv("LAB_ROOT"), "deploy/multipath/*.conf"))
	e.must(err)
	conf := map[string]string{}
	for _, f := range files {
		conf[filepath.Base(f)] = read(f) + "\n"
	}
	return conf
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func multipathdReady() bool {
	reply, err := multipathd("show daemon")
	return err == nil && (strings.Contains(reply, "idle") || strings.Contains(reply, "running"))
}

// Multipathd sends a command to multipathd and returns its answer.
func (e *Env) Multipathd(command string) string {
	e.T.Helper()
	reply, err := multipathd(command)
	e.must(err)
	return reply
}

// multipathd speaks the daemon's protocol: 8 bytes of length, little-endian, then a NUL-terminated string, both ways.
func multipathd(command string) (string, error) {
	conn, err := net.DialTimeout("unix", "@/org/kernel/linux/storage/multipathd", time.Second)
	if err != nil {
		return "", fmt.Errorf("multipathd: %w", err)
	}
	defer conn.Close()
	msg := append(binary.LittleEndian.AppendUint64(nil, uint64(len(command)+1)), command...)
	var head [8]byte
	derr := conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, werr := conn.Write(append(msg, 0))
	_, rerr := io.ReadFull(conn, head[:])
	if err := errors.Join(derr, werr, rerr); err != nil {
		return "", fmt.Errorf("multipathd %s: %w", command, err)
	}
	reply := make([]byte, min(binary.LittleEndian.Uint64(head[:]), 16<<20))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return "", fmt.Errorf("multipathd %s: %w", command, err)
	}
	return strings.TrimRight(string(reply), "\x00"), nil
}

// Iface makes an open-iscsi interface record of that name, bound to the NIC of that name.
func (e *Env) Iface(nic string) {
	e.T.Helper()
	e.Run("iscsiadm", "-m", "iface", "-I", nic, "-o", "new")
	e.Run("iscsiadm", "-m", "iface", "-I", nic, "-o", "update", "-n", "iface.net_ifacename", "-v", nic)
}

// release takes away what the test left: devices first, so that nothing queues, then the sessions.
func (i *Initiator) release() {
	for _, name := range Maps() {
		_, _ = i.e.Try("dmsetup", "message", name, "0", "fail_if_no_path")
		for _, m := range mountsOf(name) {
			_, _ = i.e.Try("umount", "-l", m)
		}
		if _, err := i.e.Try("dmsetup", "remove", "--retry", name); err != nil {
			i.e.T.Logf("cleanup: %v", err)
		}
	}
	for _, disk := range Disks() {
		_ = os.WriteFile("/sys/block/"+disk+"/device/delete", []byte("1"), 0o200)
	}
	// open-iscsi refuses while it makes a connection anew.
	_, gone := within(20*time.Second, func() bool {
		for _, s := range Sessions() {
			_, _ = i.e.Try("iscsiadm", "-m", "session", "-r", fmt.Sprint(s.ID), "-u")
		}
		return len(Sessions()) == 0
	})
	if !gone {
		i.e.T.Errorf("cleanup: sessions do not log out: %+v", Sessions())
	}
}

func (e *Env) removeRecords() {
	for _, dir := range []string{"nodes", "ifaces", "send_targets"} {
		_ = os.RemoveAll("/etc/iscsi/" + dir)
	}
	_ = os.RemoveAll("/etc/multipath")
	_ = os.Remove("/etc/multipath.conf")
}
