package guest

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Isolate gives a program on a real host /etc and /var/lib of its own, with empty iSCSI, multipath and LVM state: changes
// go to memory. The caller must be in a mount namespace of its own, with private propagation.
func Isolate() error {
	mounts := []mount{{"tmpfs", "tmpfs", "/mnt", 0, "size=50%"}}
	for _, dir := range []string{"/etc", "/var/lib"} {
		layer := "/mnt" + dir
		mounts = append(mounts, mount{"overlay", "overlay", dir, 0, "lowerdir=" + dir + ",upperdir=" + layer + "/up,workdir=" + layer + "/work"})
	}
	if err := mountAll(mounts[:1]); err != nil {
		return err
	}
	for _, dir := range []string{"/mnt/etc/up", "/mnt/etc/work", "/mnt/var/lib/up", "/mnt/var/lib/work"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := mountAll(mounts[1:]); err != nil {
		return err
	}
	name := "InitiatorName=iqn.2026-11.io.portbind.lab:host\n"
	err := errors.Join(persist(Config{}), os.WriteFile("/etc/iscsi/initiatorname.iscsi", []byte(name), 0o600),
		os.RemoveAll("/etc/multipath.conf"))
	if _, missing := os.Stat("/sys/kernel/config/target"); missing != nil {
		err = errors.Join(err, unix.Mount("configfs", "/sys/kernel/config", "configfs", 0, ""))
	}
	return err
}
