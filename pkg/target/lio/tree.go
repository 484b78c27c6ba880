// Package lio drives the kernel's iSCSI target through configfs. It owns one target, its ACLs and LUNs, and the
// backstores of one HBA; nothing else in the tree is ever touched.
package lio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Tree is the directory that the kernel shows at /sys/kernel/config/target. Paths are relative to it.
type Tree interface {
	// Mkdir makes an object; one that is there already is fine.
	Mkdir(path string) error
	// Rmdir removes an object; one that is not there is fine.
	Rmdir(path string) error
	// Write sets an attribute, in one write without a newline.
	Write(path, value string) error
	// Read gets an attribute, trimmed.
	Read(path string) (string, error)
	// Link makes the symbolic link path to the object target.
	Link(target, path string) error
	// Unlink removes a symbolic link; one that is not there is fine.
	Unlink(path string) error
	// Readlink gives the object that a link leads to, relative to the tree.
	Readlink(path string) (string, error)
	// Dirs lists the directories in a directory, none when it is not there; Links its symbolic links.
	Dirs(path string) ([]string, error)
	Links(path string) ([]string, error)
	// Exists says whether there is such an object or attribute.
	Exists(path string) (bool, error)
}

// Dir is a Tree under a root directory of the file system.
type Dir string

// ConfigFS is where the kernel has it.
const ConfigFS Dir = "/sys/kernel/config/target"

func (d Dir) path(p string) string { return filepath.Join(string(d), p) }

// Mkdir implements Tree.
func (d Dir) Mkdir(path string) error {
	err := os.Mkdir(d.path(path), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Rmdir implements Tree.
func (d Dir) Rmdir(path string) error { return gone(os.Remove(d.path(path))) }

// Unlink implements Tree.
func (d Dir) Unlink(path string) error { return gone(os.Remove(d.path(path))) }

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Write implements Tree. The error does not hold the value, which may be a secret.
func (d Dir) Write(path, value string) error {
	f, err := os.OpenFile(d.path(path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Read implements Tree.
func (d Dir) Read(path string) (string, error) {
	b, err := os.ReadFile(d.path(path))
	return strings.TrimSpace(string(b)), err
}

// Link implements Tree.
func (d Dir) Link(target, path string) error { return os.Symlink(d.path(target), d.path(path)) }

// Readlink implements Tree. The kernel gives a relative link.
func (d Dir) Readlink(path string) (string, error) {
	to, err := os.Readlink(d.path(path))
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(d.path(path)), to)
	}
	rel, err := filepath.Rel(string(d), to)
	if err != nil {
		return "", fmt.Errorf("link %s: %w", path, err)
	}
	return rel, nil
}

// Dirs implements Tree.
func (d Dir) Dirs(path string) ([]string, error) { return d.entries(path, fs.ModeDir) }

// Links implements Tree.
func (d Dir) Links(path string) ([]string, error) { return d.entries(path, fs.ModeSymlink) }

func (d Dir) entries(path string, kind fs.FileMode) ([]string, error) {
	entries, err := os.ReadDir(d.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.Type()&fs.ModeType == kind {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Exists implements Tree.
func (d Dir) Exists(path string) (bool, error) {
	_, err := os.Lstat(d.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
