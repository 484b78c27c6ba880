//go:build lab

package labenv

import (
	"fmt"
	"os"
	"path/filepath"
)

// RawTarget is an LIO target made directly through configfs, open to every initiator: for scenarios about the
// initiator alone, and for LUNs that exist without us.
type RawTarget struct {
	IQN string
	e   *Env
	tpg string
	n   int
}

// RawTarget makes a target with a portal on each portal address of the network.
func (e *Env) RawTarget(iqn string) *RawTarget {
	e.T.Helper()
	e.cleanLIO()
	return e.portalGroup(iqn, 1, e.Net.Portals...)
}

// portalGroup makes one of a target's portal groups.
func (e *Env) portalGroup(iqn string, tag int, portals ...string) *RawTarget {
	e.T.Helper()
	t := &RawTarget{IQN: iqn, e: e, tpg: filepath.Join(configfs, "iscsi", iqn, fmt.Sprintf("tpgt_%d", tag))}
	e.must(os.MkdirAll(t.tpg, 0o755))
	for _, p := range portals {
		t.AddPortal(p)
	}
	for attr, value := range map[string]string{"authentication": "0", "generate_node_acls": "1", "demo_mode_write_protect": "0"} {
		e.Write(t.tpg+"/attrib/"+attr, value)
	}
	e.Write(t.tpg+"/enable", "1")
	return t
}

// AddLUN adds a file-backed LUN of a size in bytes and returns its WWID as multipathd writes it.
func (t *RawTarget) AddLUN(lun int, size int64) string {
	t.e.T.Helper()
	t.n++
	// The NAA is made of the first 25 hex digits of the serial.
	serial := fmt.Sprintf("%08x%02x%06x%09x", os.Getpid(), t.n, lun, size)
	name := fmt.Sprintf("raw%d", lun)
	file := filepath.Join(t.e.dir, name+".img")
	t.e.must(os.WriteFile(file, nil, 0o600))
	t.e.must(os.Truncate(file, size))
	store := configfs + "/core/fileio_0/" + name
	t.e.must(os.MkdirAll(store, 0o755))
	t.e.Write(store+"/control", fmt.Sprintf("fd_dev_name=%s,fd_dev_size=%d", file, size))
	t.e.Write(store+"/enable", "1")
	t.e.Write(store+"/wwn/vpd_unit_serial", serial)
	dir := fmt.Sprintf("%s/lun/lun_%d", t.tpg, lun)
	t.e.must(os.MkdirAll(dir, 0o755))
	t.e.must(os.Symlink(store, dir+"/"+name))
	t.e.Expect(CheckLUNs, dir)
	t.e.Expect(CheckStores, store+"/udev_path")
	return "36001405" + serial
}

// ReplaceLUN puts another, empty unit under the number of a LUN, as an array does that gives a number anew. It returns
// the new WWID.
func (t *RawTarget) ReplaceLUN(lun int, size int64) string {
	t.e.T.Helper()
	name := fmt.Sprintf("raw%d", lun)
	dir := fmt.Sprintf("%s/lun/lun_%d", t.tpg, lun)
	t.e.must(os.Remove(dir + "/" + name))
	t.e.must(os.Remove(dir))
	t.e.must(os.Remove(configfs + "/core/fileio_0/" + name))
	return t.AddLUN(lun, size)
}
