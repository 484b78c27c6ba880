//go:build lab

package labenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Pool is a volume group with a thin pool in it.
type Pool struct {
	VG, LV string
	Device string // the loop device
}

// Name is what the target daemon's configuration calls it.
func (p Pool) Name() string { return p.VG + "-" + p.LV }

// Pool makes a volume group on a sparse file in memory, and a thin pool that takes most of it. Size is in bytes.
func (e *Env) Pool(size int64) Pool {
	e.T.Helper()
	p := Pool{VG: fmt.Sprintf("labvg%d", poolNumber(e)), LV: "pool"}
	file := filepath.Join(e.dir, p.VG+".img")
	e.must(os.WriteFile(file, nil, 0o600))
	e.must(os.Truncate(file, size))
	p.Device = strings.TrimSpace(e.Run("losetup", "-f", "--show", file))
	e.T.Cleanup(func() { e.removePool(p) })
	// Metadata: the default area ends near 1,300 volumes.
	e.Run("vgcreate", "-q", "--metadatasize", "64m", p.VG, p.Device)
	// LVM makes the device nodes itself: it must not depend on udev, which is slow here or waits for LVM in turn.
	alone := "activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 }"
	e.Run("lvcreate", "-q", "--config", alone, "-T", "-l", "90%FREE", p.VG+"/"+p.LV)
	// LVM puts a layer of that name under a pool when its first volume becomes active.
	e.Expect(CheckLVs, append(LVs(), p.VG+"-"+p.LV+"-tpool")...)
	return p
}

func poolNumber(e *Env) int { return len(glob(filepath.Join(e.dir, "labvg*.img"))) }

func (e *Env) removePool(p Pool) {
	if _, err := e.Try("vgremove", "-q", "-ff", "-y", p.VG); err != nil {
		e.T.Errorf("cleanup: %v", err)
	}
	// Nodes that LVM made itself are left when udev was to remove them; the next group of that name would be refused.
	_ = os.RemoveAll("/dev/" + p.VG)
	if _, err := e.Try("losetup", "-d", p.Device); err != nil {
		e.T.Errorf("cleanup: %v", err)
	}
}
