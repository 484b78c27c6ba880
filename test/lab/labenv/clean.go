//go:build lab

package labenv

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Check finds one kind of leftovers; each element of what it returns describes one.
type Check struct {
	Name string
	Find func() []string
}

// AddCheck adds a check to those of Clean.
func (e *Env) AddCheck(name string, find func() []string) {
	e.checks = append(e.checks, Check{name, find})
}

// Expect takes known objects (of a raw target, of the pool itself) out of what a check finds.
func (e *Env) Expect(name string, objects ...string) {
	for i, c := range e.checks {
		if c.Name != name {
			continue
		}
		find := c.Find
		e.checks[i].Find = func() []string {
			return slices.DeleteFunc(find(), func(s string) bool { return slices.Contains(objects, s) })
		}
	}
}

// The built-in checks' names, for Expect.
const (
	CheckSessions = "iSCSI session"
	CheckDisks    = "SCSI disk"
	CheckMaps     = "multipath map"
	CheckRecords  = "open-iscsi record"
	CheckMounts   = "mount"
	CheckLVs      = "logical volume"
	CheckLUNs     = "LUN"
	CheckACLs     = "ACL"
	CheckStores   = "backstore"
)

func builtinChecks() []Check {
	before := Mounts()
	return []Check{
		{CheckSessions, func() []string { return describe(Sessions()) }},
		{CheckDisks, Disks},
		{CheckMaps, Maps},
		{CheckRecords, records},
		{CheckMounts, func() []string { return newMounts(before) }},
		{CheckLVs, LVs},
		{CheckLUNs, func() []string { return glob(configfs + "/iscsi/iqn*/tpgt_*/lun/lun_*") }},
		{CheckACLs, func() []string { return glob(configfs + "/iscsi/iqn*/tpgt_*/acls/*") }},
		{CheckStores, func() []string { return glob(configfs + "/core/*/*/udev_path") }},
	}
}

func describe(sessions []Session) []string {
	all := make([]string, len(sessions))
	for i, s := range sessions {
		all[i] = fmt.Sprintf("%+v", s)
	}
	return all
}

// records finds node and iface records with the project's prefix.
func records() []string {
	var all []string
	for _, root := range []string{"/etc/iscsi/ifaces", "/etc/iscsi/nodes"} {
		_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(filepath.Base(path), "pb") {
				all = append(all, path)
			}
			return nil
		})
	}
	return all
}

// newMounts leaves out network namespaces: they are the storage network's own.
func newMounts(before []string) []string {
	return slices.DeleteFunc(Mounts(), func(m string) bool { return slices.Contains(before, m) || strings.HasPrefix(m, "/run/netns") })
}

func (e *Env) leftovers() []string {
	var left []string
	for _, c := range e.checks {
		for _, what := range c.Find() {
			left = append(left, c.Name+": "+what)
		}
	}
	return left
}

// Clean fails the test when anything is left over: sessions, disks, maps, records, mounts, volumes, LUNs, ACLs.
// Kernel objects may take a moment to go: it waits for up to two seconds.
func (e *Env) Clean(t *testing.T) {
	t.Helper()
	var left []string
	if _, ok := within(2*time.Second, func() bool { left = e.leftovers(); return len(left) == 0 }); !ok {
		t.Errorf("left over:\n%s", strings.Join(left, "\n"))
	}
}

// Tidy waits until sessions that nobody uses are logged out and the target, which looks every now and then, has forgotten
// initiators that have gone for good, and wants nothing left over.
func (s *Stack) Tidy() {
	s.T.Helper()
	s.Eventually(30*time.Second, "unused sessions to log out", func() bool { return len(Sessions()) == 0 })
	s.Eventually(time.Minute, "the target to forget the initiator", func() bool {
		return len(glob(configfs+"/iscsi/iqn*/tpgt_*/acls/*")) == 0
	})
	s.Clean(s.T)
}
