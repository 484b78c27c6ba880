package fsmount

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options are mount options as mount(2) takes them.
type Options struct {
	// Flags are the generic ones (MS_RDONLY, ...), Data those of the file system.
	Flags uintptr
	Data  []string
}

// ReadOnly says whether "ro" is among them.
func (o Options) ReadOnly() bool { return o.Flags&unix.MS_RDONLY != 0 }

// WithReadOnly returns the options with "ro" set.
func (o Options) WithReadOnly() Options {
	o.Flags |= unix.MS_RDONLY
	return o
}

// perMount are the flags that a bind mount has for itself; all others belong to the file system.
const perMount = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME |
	unix.MS_RELATIME

// flag is what a generic option does.
type flag struct{ set, clear uintptr }

// genericOptions are those of mount(8) that are flags of mount(2).
var genericOptions = map[string]flag{
	"ro": {set: unix.MS_RDONLY}, "rw": {clear: unix.MS_RDONLY},
	"nosuid": {set: unix.MS_NOSUID}, "suid": {clear: unix.MS_NOSUID},
	"nodev": {set: unix.MS_NODEV}, "dev": {clear: unix.MS_NODEV},
	"noexec": {set: unix.MS_NOEXEC}, "exec": {clear: unix.MS_NOEXEC},
	"sync": {set: unix.MS_SYNCHRONOUS}, "async": {clear: unix.MS_SYNCHRONOUS},
	"dirsync": {set: unix.MS_DIRSYNC},
	"noatime": {set: unix.MS_NOATIME}, "atime": {clear: unix.MS_NOATIME},
	"nodiratime": {set: unix.MS_NODIRATIME}, "diratime": {clear: unix.MS_NODIRATIME},
	"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
	"strictatime": {set: unix.MS_STRICTATIME}, "nostrictatime": {clear: unix.MS_STRICTATIME},
	"lazytime": {set: unix.MS_LAZYTIME}, "nolazytime": {clear: unix.MS_LAZYTIME},
	// For mount(8) only, of no meaning here.
	"defaults": {}, "_netdev": {}, "nofail": {}, "auto": {}, "noauto": {},
}

// deniedOptions would change what is mounted, or where.
var deniedOptions = []string{
	"bind", "rbind", "move", "remount", "loop", "offset", "sizelimit", "shared", "rshared", "slave", "rslave",
	"private", "rprivate", "unbindable", "runbindable",
	// Other devices than the volume.
	"device", "journal_dev", "journal_path", "logdev", "rtdev",
	// They make up for a damage that a person should look at first.
	"usebackuproot", "recovery", "rescue", "norecovery", "noload", "nouuid",
}

// optionForm is what an option looks like: no white space, quotes or control characters, no leading dash.
var optionForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/@%+=-]{0,255}$`)

// contextForm is an SELinux context as kubelet gives it for CSIDriver's seLinuxMount, in an element of its own: its categories
// have commas, which the kernel takes for its own only between quotes (selinux_sb_eat_lsm_opts).
var contextForm = regexp.MustCompile(`^context="[a-zA-Z0-9_]{1,64}(:[a-zA-Z0-9_]{1,64}){2}(:[sc0-9.,:-]{1,900})?"$`)

// maxOptions is far more than anybody needs; mount(2) takes one page of data.
const maxOptions = 64

// ParseOptions validates mount options and sorts them into flags and data. An element may hold several, separated
// by commas, as StorageClasses have it.
func ParseOptions(list []string) (Options, error) {
	var o Options
	for _, element := range list {
		if contextForm.MatchString(element) {
			o.Data = append(o.Data, element)
			continue
		}
		for option := range strings.SplitSeq(element, ",") {
			if err := o.add(option); err != nil {
				return Options{}, err
			}
		}
	}
	if len(o.Data) > maxOptions {
		return Options{}, fmt.Errorf("%w: %d options, at most %d", ErrOption, len(o.Data), maxOptions)
	}
	return o, nil
}

// add takes one option.
func (o *Options) add(option string) error {
	if !optionForm.MatchString(option) {
		return fmt.Errorf("%w: %.64q: letters, digits and _ . : / @ %% + = - only, no leading -", ErrOption, option)
	}
	if f, ok := genericOptions[option]; ok {
		o.Flags = o.Flags&^f.clear | f.set
		return nil
	}
	name, _, _ := strings.Cut(option, "=")
	if slices.Contains(deniedOptions, name) || strings.HasPrefix(strings.ToLower(name), "x-") {
		return fmt.Errorf("%w: %q", ErrOption, name)
	}
	if !slices.Contains(o.Data, option) {
		o.Data = append(o.Data, option)
	}
	return nil
}

// has says whether an option of that name is among the file system's.
func (o Options) has(name string) bool {
	return slices.ContainsFunc(o.Data, func(d string) bool { return d == name || strings.HasPrefix(d, name+"=") })
}
