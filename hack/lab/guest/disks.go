package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const stateDir = "/state"

// persistent are the directories that a real host keeps across reboots, with what of the outside's stays in them.
var persistent = map[string][]string{
	"/etc/iscsi":                {"iscsid.conf"},
	"/etc/multipath":            nil,
	"/var/lib/portbind":         nil,
	"/var/lib/portbind-targetd": nil,
	"/etc/portbind":             nil,
	"/etc/portbind-targetd":     nil,
}

// disks mounts the state and gives the other disks names that do not depend on the kind of guest.
func disks(c Config) error {
	letter := 'a'
	if c.State {
		dev := c.DiskPrefix + string(letter)
		letter++
		if err := mountAll([]mount{{"ext4", dev, stateDir, 0, ""}}); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/dev/disk/lab", 0o755); err != nil {
		return fmt.Errorf("disk names: %w", err)
	}
	for i := 0; ; i++ {
		dev := c.DiskPrefix + string(letter+rune(i))
		if _, err := os.Stat(dev); err != nil {
			return nil //nolint:nilerr // no more disks
		}
		if err := os.Symlink(dev, fmt.Sprintf("/dev/disk/lab/%d", i)); err != nil {
			return fmt.Errorf("disk names: %w", err)
		}
	}
}

// persist empties the directories of what the outside has in them; with a state disk, they are on it and keep what
// the guest's earlier boots put there.
func persist(c Config) error {
	var errs []error
	for dir, keep := range persistent {
		saved, err := readAll(dir, keep)
		errs = append(errs, err, os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
		if c.State {
			home := filepath.Join(stateDir, strings.ReplaceAll(dir, "/", "_"))
			errs = append(errs, os.MkdirAll(home, 0o755), unix.Mount(home, dir, "", unix.MS_BIND, ""))
		}
		for name, data := range saved {
			errs = append(errs, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
	}
	return errors.Join(errs...)
}

func readAll(dir string, names []string) (map[string][]byte, error) {
	saved := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("run hack/lab/setup: %w", err)
		}
		saved[name] = data
	}
	return saved, nil
}
