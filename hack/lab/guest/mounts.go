package guest

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

type mount struct {
	fstype, source, target string
	flags                  uintptr
	data                   string
}

func systemMounts() []mount {
	return []mount{
		{"proc", "proc", "/proc", 0, ""},
		{"sysfs", "sysfs", "/sys", 0, ""},
		{"devtmpfs", "devtmpfs", "/dev", 0, ""},
		{"devpts", "devpts", "/dev/pts", 0, "mode=620,ptmxmode=666"},
		{"tmpfs", "tmpfs", "/dev/shm", 0, "size=90%"},
		{"mqueue", "mqueue", "/dev/mqueue", 0, ""},
		{"tmpfs", "tmpfs", "/run", 0, "mode=755"},
		{"tmpfs", "tmpfs", "/run/lock", 0, ""},
		{"cgroup2", "cgroup2", "/sys/fs/cgroup", 0, ""},
		{"", "", "/", unix.MS_REC | unix.MS_SHARED, ""}, // as systemd leaves it; kubelet needs it
	}
}

// outsideMounts are the directories that the guest shares with the outside, for artefacts.
func outsideMounts(c Config) []mount {
	var all []mount
	for _, m := range c.Mounts {
		switch m.Type {
		case "9p":
			all = append(all, mount{"9p", m.Tag, m.Path, 0, "trans=virtio,version=9p2000.L,msize=512000"})
		default:
			all = append(all, mount{m.Type, "none", m.Path, 0, m.Path})
		}
	}
	return all
}

func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("mount point: %w", err)
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}
