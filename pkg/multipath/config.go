package multipath

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Vendor and Product are what our target's LUNs say in INQUIRY; portbind-targetd sets them. One device section matches
// them and nobody else's.
const (
	Vendor  = "PORTBIND"
	Product = "thin-volume"
)

// Policy is how maps over our own target's LUNs behave.
type Policy struct {
	// NoPathRetry is how long I/O waits when every path is lost, before it fails. Negative, the default: until a path
	// is back. A file system that sees an error goes read-only, or its journal stops, which no returning path mends;
	// a volume that must go away while its paths are dead is unstaged, which ends the waiting.
	NoPathRetry time.Duration
	// FastIOFail is how long commands wait on a lost session before dm-multipath tries another path; whole seconds. It
	// comes on top of the time that the session takes to notice (iscsi.Timers).
	FastIOFail time.Duration
}

// DefaultPolicy queues without a limit and fails over 1 s after a loss was noticed: what was lost by mistake comes back by
// itself, and iscsi.FastTimers with it stay well below a stall of 7 s.
func DefaultPolicy() Policy { return Policy{NoPathRetry: -1, FastIOFail: time.Second} }

// Queues says whether I/O waits at all when every path is lost.
func (p Policy) Queues() bool { return p.NoPathRetry != 0 }

// checkInterval is multipathd's default polling_interval in seconds. no_path_retry counts in it, but multipathd has
// no polling_interval per device, and defaults are not ours to change.
const checkInterval = 5

func (p Policy) noPathRetry() string {
	switch {
	case p.NoPathRetry < 0:
		return retryQueue
	case p.NoPathRetry == 0:
		return retryFail
	}
	return checks(p.NoPathRetry)
}

// checks is how many checks a time is, rounded up.
func checks(d time.Duration) string {
	return fmt.Sprint(max(1, int((d+checkInterval*time.Second-1)/(checkInterval*time.Second))))
}

// render writes the device section. user_friendly_names no: the name is the WWID on every node. skip_kpartx:
// partitions in a volume are its user's; a kpartx map would hold the volume open.
func (p Policy) render() []byte {
	var b strings.Builder
	b.WriteString("# Written by portbind-csi; changes are overwritten. It concerns the LUNs of portbind-targetd only.\n")
	fmt.Fprintf(&b, "devices {\n\tdevice {\n\t\tvendor \"^%s$\"\n\t\tproduct \"^%s$\"\n", Vendor, Product)
	for _, kv := range [][2]string{
		// One group, whatever the kernel's ALUA handler says: all portals of a target host lead to the same disks. By priority,
		// a path whose priority could not be read for a moment got a group of its own, without I/O.
		{"path_grouping_policy", "multibus"},
		{"prio", "const"},
		{"detect_prio", "no"},
		{"path_selector", `"` + defaultSelector + ` 0"`},
		{"path_checker", "tur"},
		{"detect_checker", "yes"},
		{"failback", "immediate"},
		{"no_path_retry", p.noPathRetry()},
		{"fast_io_fail_tmo", fmt.Sprint(max(1, int(p.FastIOFail/time.Second)))},
		{"user_friendly_names", "no"},
		{"skip_kpartx", "yes"},
		{"flush_on_last_del", "no"},
	} {
		fmt.Fprintf(&b, "\t\t%s %s\n", kv[0], kv[1])
	}
	b.WriteString("\t}\n}\n")
	return []byte(b.String())
}

// ConfigFile is where our device section goes; multipathd reads conf.d after multipath.conf, and without one too.
const ConfigFile = "/etc/multipath/conf.d/portbind.conf"

// WriteConfig makes the file say what p says, atomically, and reports whether it had to change. multipathd must then
// Reconfigure.
func (p Policy) WriteConfig(file string) (changed bool, err error) {
	want := p.render()
	have, err := os.ReadFile(file)
	if err == nil && bytes.Equal(have, want) {
		return false, nil
	}
	if err := replaceFile(file, want); err != nil {
		return false, &Error{Op: "write", On: file, Err: err}
	}
	return true, nil
}

func replaceFile(file string, data []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".portbind-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
