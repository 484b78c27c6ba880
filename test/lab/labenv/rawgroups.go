//go:build lab

package labenv

import (
	"fmt"
	"os"
	"path/filepath"
)

// ALUA states as a target reports them (SPC-4, asymmetric access state).
const (
	ALUAOptimized    = 0
	ALUANonOptimized = 1
	ALUAStandby      = 2
)

// RawTargetGroups makes a target with several portal groups, as an array has one for each of its controllers. Their tags
// count from 1.
func (e *Env) RawTargetGroups(iqn string, portals ...[]string) []*RawTarget {
	e.T.Helper()
	e.cleanLIO()
	var groups []*RawTarget
	for i, p := range portals {
		groups = append(groups, e.portalGroup(iqn, i+1, p...))
	}
	return groups
}

// AddPortal lets the group listen on an address.
func (t *RawTarget) AddPortal(address string) {
	t.e.T.Helper()
	t.e.inTargetNS(func() error { return os.Mkdir(t.portal(address), 0o755) })
}

// RemovePortal ends that, and every session that came through it.
func (t *RawTarget) RemovePortal(address string) {
	t.e.T.Helper()
	t.e.must(os.Remove(t.portal(address)))
}

func (t *RawTarget) portal(address string) string { return t.tpg + "/np/" + address + ":3260" }

// ShareLUN offers another group's LUN here, too.
func (t *RawTarget) ShareLUN(from *RawTarget, lun int) {
	t.e.T.Helper()
	dir := t.lun(lun)
	t.e.must(os.MkdirAll(dir, 0o755))
	t.e.must(os.Symlink(t.store(lun), filepath.Join(dir, filepath.Base(from.store(lun)))))
	t.e.Expect(CheckLUNs, dir)
}

// SetALUA gives the group's ports a target port group of their own for the LUN, and its state. The initiator cannot change it.
func (t *RawTarget) SetALUA(lun, state int) {
	t.e.T.Helper()
	name := filepath.Base(t.tpg) // tpgt_1
	dir := filepath.Join(t.store(lun), "alua", name)
	if _, err := os.Stat(dir); err != nil {
		t.e.must(os.Mkdir(dir, 0o755))
		var id int
		_, err := fmt.Sscanf(name, "tpgt_%d", &id)
		t.e.must(err)
		t.e.Write(dir+"/tg_pt_gp_id", fmt.Sprint(id))
		t.e.Write(dir+"/alua_access_type", "1") // implicit
		t.e.Write(t.lun(lun)+"/alua_tg_pt_gp", name)
	}
	t.e.Write(dir+"/alua_access_state", fmt.Sprint(state))
}

func (t *RawTarget) lun(lun int) string { return fmt.Sprintf("%s/lun/lun_%d", t.tpg, lun) }
func (t *RawTarget) store(lun int) string {
	return fmt.Sprintf("%s/core/fileio_0/raw%d", configfs, lun)
}
