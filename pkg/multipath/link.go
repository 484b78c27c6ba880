package multipath

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Path returns the map's dependable name, /dev/mapper/NAME.
func (d *DM) Path(name string) string { return filepath.Join(d.dev, "mapper", name) }

// EnsureLink makes /dev/mapper/NAME lead to the map, as udev's 55-dm.rules will: udev is not waited for, and finds
// its work done. A node or link that leads elsewhere is of an earlier map of that name and is replaced.
func (d *DM) EnsureLink(info Info) error {
	link := d.Path(info.Name)
	if leadsTo(link, info.Devno) {
		return nil
	}
	tmp := filepath.Join(d.dev, "mapper", ".portbind-"+strconv.Itoa(os.Getpid())+"-"+info.Name)
	err := os.Symlink(relNode(info.Devno), link)
	if err == nil {
		return nil
	}
	if !errors.Is(err, os.ErrExist) {
		return &Error{Op: "link", On: info.Name, Err: err}
	}
	_ = os.Remove(tmp)
	if err := os.Symlink(relNode(info.Devno), tmp); err != nil {
		return &Error{Op: "link", On: info.Name, Err: err}
	}
	if err := os.Rename(tmp, link); err != nil {
		return &Error{Op: "link", On: info.Name, Err: errors.Join(err, os.Remove(tmp))}
	}
	return nil
}

// DropLink removes /dev/mapper/NAME of a map that was removed, unless it leads to another device by now. udev does the
// same when it gets there; until then the name must not lead to the number's next user.
func (d *DM) DropLink(info Info) error {
	link := d.Path(info.Name)
	to, err := os.Readlink(link)
	if err != nil || to != relNode(info.Devno) {
		return nil //nolint:nilerr // not a link, or not there: not ours
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return &Error{Op: "unlink", On: info.Name, Err: err}
	}
	return nil
}

func relNode(n Devno) string { return "../dm-" + strconv.FormatUint(uint64(n.Minor), 10) }

func leadsTo(path string, n Devno) bool {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == unix.Mkdev(n.Major, n.Minor)
}
