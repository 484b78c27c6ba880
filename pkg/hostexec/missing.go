package hostexec

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
)

// packages says which package brings a program: on Debian and Ubuntu, and on RHEL and Fedora.
var packages = map[string]struct{ debian, redhat string }{
	"iscsiadm":   {"open-iscsi", "iscsi-initiator-utils"},
	"iscsid":     {"open-iscsi", "iscsi-initiator-utils"},
	"multipath":  {"multipath-tools", "device-mapper-multipath"},
	"multipathd": {"multipath-tools", "device-mapper-multipath"},
	"dmsetup":    {"dmsetup", "device-mapper"},
	"modprobe":   {"kmod", "kmod"},
	"udevadm":    {"udev", "systemd-udev"},
	"mount":      {"mount", "util-linux"},
	"umount":     {"mount", "util-linux"},
	"blkid":      {"util-linux", "util-linux"},
	"lsblk":      {"util-linux", "util-linux"},
	"fsck":       {"util-linux", "util-linux"},
	"fsfreeze":   {"util-linux", "util-linux"},
	"blockdev":   {"util-linux", "util-linux"},
	"mkfs.ext3":  {"e2fsprogs", "e2fsprogs"},
	"mkfs.ext4":  {"e2fsprogs", "e2fsprogs"},
	"fsck.ext4":  {"e2fsprogs", "e2fsprogs"},
	"e2fsck":     {"e2fsprogs", "e2fsprogs"},
	"resize2fs":  {"e2fsprogs", "e2fsprogs"},
	"tune2fs":    {"e2fsprogs", "e2fsprogs"},
	"dumpe2fs":   {"e2fsprogs", "e2fsprogs"},
	"mkfs.xfs":   {"xfsprogs", "xfsprogs"},
	"xfs_growfs": {"xfsprogs", "xfsprogs"},
	"xfs_admin":  {"xfsprogs", "xfsprogs"},
	"xfs_repair": {"xfsprogs", "xfsprogs"},
	"xfs_io":     {"xfsprogs", "xfsprogs"},
	"mkfs.btrfs": {"btrfs-progs", "btrfs-progs"},
	"btrfs":      {"btrfs-progs", "btrfs-progs"},
	"cryptsetup": {"cryptsetup-bin", "cryptsetup"},
	"lvm":        {"lvm2", "lvm2"},
	"lvs":        {"lvm2", "lvm2"},
	"lvcreate":   {"lvm2", "lvm2"},
	"vgs":        {"lvm2", "lvm2"},
	"thin_check": {"thin-provisioning-tools", "device-mapper-persistent-data"},
	"ss":         {"iproute2", "iproute"},
}

// Missing says whether err comes from a program that is not installed, and which.
func Missing(err error) (program string, ok bool) {
	var e *Error
	if !errors.As(err, &e) || !notFound(e.Err) {
		return "", false
	}
	return e.Name, true
}

// notFound says whether a program could not be started because there is none. PathErrors of anything but the exec
// itself do not count: they speak of files, such as the host's namespace.
func notFound(err error) bool {
	var path *fs.PathError
	return errors.Is(err, exec.ErrNotFound) ||
		(errors.As(err, &path) && path.Op == "fork/exec" && errors.Is(err, fs.ErrNotExist))
}

// MissingHint says in one line which package brings the program that err misses: "iscsiadm not found: install
// open-iscsi (RHEL, Fedora: iscsi-initiator-utils)". Empty when err is about anything else.
func MissingHint(err error) string {
	program, ok := Missing(err)
	if !ok {
		return ""
	}
	return InstallHint(program)
}

// InstallHint is MissingHint for a program that is known to be missing.
func InstallHint(program string) string {
	pkg, known := packages[program]
	switch {
	case !known:
		return fmt.Sprintf("%s not found on this node: install it", program)
	case pkg.debian == pkg.redhat:
		return fmt.Sprintf("%s not found: install %s", program, pkg.debian)
	default:
		return fmt.Sprintf("%s not found: install %s (RHEL, Fedora: %s)", program, pkg.debian, pkg.redhat)
	}
}
