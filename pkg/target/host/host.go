// Package host makes a machine ready to be a storage host, or says what keeps it from being one.
package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/hostexec"
)

// Host is this machine: its files under Root, its programs through Runner.
type Host struct {
	// Root is "/" but in tests.
	Root   string
	Runner hostexec.Runner
}

func (h Host) path(elem ...string) string { return filepath.Join(append([]string{h.Root}, elem...)...) }

// modules are what the kernel needs: the core first, so that configfs has the directory.
var modules = []string{"target_core_mod", "target_core_iblock", "iscsi_target_mod", "dm_thin_pool"}

// Prepare loads what the kernel needs and mounts configfs.
func (h Host) Prepare(ctx context.Context) error {
	for _, m := range modules {
		if err := h.load(ctx, m); err != nil {
			return err
		}
	}
	return h.mountConfigFS()
}

func (h Host) load(ctx context.Context, module string) error {
	if h.loaded(module) {
		return nil
	}
	if _, err := h.Runner.Run(ctx, nil, "modprobe", module); err != nil {
		if hint := hostexec.MissingHint(err); hint != "" {
			return fmt.Errorf("%s: %w", hint, err)
		}
		return fmt.Errorf("kernel module %s cannot be loaded: install the kernel's full set of modules (Debian: linux-image-amd64, not the "+
			"cloud kernel; RHEL, Fedora: kernel-modules, kernel-modules-extra): %w", module, err)
	}
	return nil
}

func (h Host) loaded(module string) bool {
	_, err := os.Stat(h.path("sys/module", module))
	return err == nil
}

func (h Host) mountConfigFS() error {
	if _, err := os.Stat(h.path("sys/kernel/config/target")); err == nil {
		return nil
	}
	dir := h.path("sys/kernel/config")
	if err := unix.Mount("configfs", dir, "configfs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount configfs on %s: %w", dir, err)
	}
	if _, err := os.Stat(h.path("sys/kernel/config/target")); err != nil {
		return fmt.Errorf("the kernel's target does not show in configfs: %w", err)
	}
	return nil
}

// tools are the programs that are run, and thin_check, which LVM runs.
var tools = []string{"lvs", "lvcreate", "lvextend", "lvchange", "lvremove", "thin_check"}

// directories are where hostexec looks for programs.
var directories = []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}

// CheckTools says which programs are missing, and which packages bring them.
func (h Host) CheckTools() error {
	var errs []error
	for _, tool := range tools {
		if !h.has(tool) {
			errs = append(errs, errors.New(hint(tool)))
		}
	}
	return errors.Join(errs...)
}

// hint names LVM's package for each of its commands.
func hint(tool string) string {
	if tool == "thin_check" {
		return hostexec.InstallHint(tool)
	}
	return fmt.Sprintf("%s not found: install lvm2", tool)
}

func (h Host) has(tool string) bool {
	for _, dir := range directories {
		if info, err := os.Stat(h.path(dir, tool)); err == nil && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// CheckModules says which kernel modules are neither loaded nor to be found.
func (h Host) CheckModules(ctx context.Context) error {
	var errs []error
	for _, m := range modules {
		if h.loaded(m) {
			continue
		}
		if _, err := h.Runner.Run(ctx, nil, "modprobe", "--dry-run", "--quiet", m); err != nil {
			errs = append(errs, fmt.Errorf("kernel module %s not found: %w", m, err))
		}
	}
	return errors.Join(errs...)
}
