// Package liotest is the kernel's target as far as its configfs tree goes, for tests: a directory in which objects have
// their attributes, and removals are refused that the kernel refuses. Seen on Linux 6.1.
package liotest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portbind/portbind/pkg/target/lio"
)

// Tree is a lio.Tree on a directory of its own.
type Tree struct {
	lio.Dir
	t *testing.T

	mu sync.Mutex
	// Changes are all that was done, one line each; values of credentials are left out.
	changes []string
	// refuse makes changes fail whose line contains the key.
	refuse map[string]error
	// OldKernel has no authentication attribute in ACLs.
	OldKernel bool
}

var _ lio.Tree = (*Tree)(nil)

// New gives an empty tree, as it is when the modules have just been loaded.
func New(t *testing.T) *Tree {
	t.Helper()
	tree := &Tree{Dir: lio.Dir(t.TempDir()), t: t, refuse: map[string]error{}}
	if err := os.Mkdir(filepath.Join(string(tree.Dir), "core"), 0o700); err != nil {
		t.Fatal(err)
	}
	return tree
}

// Changes gives what was done since the last call.
func (k *Tree) Changes() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	done := k.changes
	k.changes = nil
	return done
}

// Refuse makes changes fail whose line contains the text; nil ends it.
func (k *Tree) Refuse(text string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		delete(k.refuse, text)
	} else {
		k.refuse[text] = err
	}
}

// Reboot forgets everything.
func (k *Tree) Reboot() {
	k.t.Helper()
	for _, dir := range []string{"core", "iscsi"} {
		if err := os.RemoveAll(k.real(dir)); err != nil {
			k.t.Fatal(err)
		}
	}
	if err := os.Mkdir(k.real("core"), 0o700); err != nil {
		k.t.Fatal(err)
	}
}

// Objects lists all objects and links below a directory, attributes and the kernel's own groups left out.
func (k *Tree) Objects(dir string) []string {
	k.t.Helper()
	var found []string
	err := filepath.WalkDir(k.real(dir), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(string(k.Dir), path)
		if err != nil {
			return err
		}
		if (d.IsDir() || d.Type() == os.ModeSymlink) && !groups[filepath.Base(rel)] && !strings.HasPrefix(filepath.Base(rel), "tpgt_") {
			found = append(found, rel)
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		k.t.Fatal(err)
	}
	return found
}

func (k *Tree) real(path string) string { return filepath.Join(string(k.Dir), path) }

func (k *Tree) record(verb, path string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	line := verb + " " + path
	for text, err := range k.refuse {
		if strings.Contains(line, text) {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	k.changes = append(k.changes, line)
	return nil
}

// groups are directories that the kernel makes with their parent.
var groups = map[string]bool{
	"acls": true, "lun": true, "np": true, "attrib": true, "auth": true, "param": true, "wwn": true, "core": true, "iscsi": true,
	"fabric_statistics": true, "iscsi_instance": true,
}

// kinds give the attributes and groups that an object has when it is made.
var kinds = []struct {
	path  *regexp.Regexp
	files map[string]string
	dirs  []string
}{
	{path: regexp.MustCompile(`^core/iblock_\d+$`)},
	{path: regexp.MustCompile(`^core/iblock_\d+/[^/]+$`), dirs: []string{"attrib", "wwn"}, files: map[string]string{
		"control": "", "enable": "0", "udev_path": "", "attrib/emulate_tpu": "0", "wwn/vendor_id": "LIO-ORG", "wwn/product_id": "",
		"wwn/vpd_unit_serial": "T10 VPD Unit Serial Number: ",
	}},
	{path: regexp.MustCompile(`^iscsi$`)},
	{
		path: regexp.MustCompile(`^iscsi/[^/]+$`), dirs: []string{"fabric_statistics/iscsi_instance"},
		files: map[string]string{"fabric_statistics/iscsi_instance/sessions": "0"},
	},
	{path: regexp.MustCompile(`^iscsi/[^/]+/tpgt_1$`), dirs: []string{"acls", "attrib", "lun", "np"}, files: map[string]string{
		"enable": "0", "attrib/authentication": "1", "attrib/generate_node_acls": "0", "attrib/cache_dynamic_acls": "0",
		"attrib/demo_mode_write_protect": "1", "attrib/demo_mode_discovery": "1", "attrib/prod_mode_write_protect": "0",
	}},
	{path: regexp.MustCompile(`^iscsi/[^/]+/tpgt_1/np/[^/]+$`)},
	{path: regexp.MustCompile(`^iscsi/[^/]+/tpgt_1/lun/lun_\d+$`)},
	{path: regexp.MustCompile(`^iscsi/[^/]+/tpgt_1/acls/[^/]+$`), dirs: []string{"attrib", "auth"}, files: map[string]string{
		"attrib/authentication": "-1", "auth/userid": "", "auth/password": "", "auth/userid_mutual": "", "auth/password_mutual": "",
		"cmdsn_depth": "64", "info": "No active iSCSI Session for Initiator Endpoint: x",
	}},
	{
		path:  regexp.MustCompile(`^iscsi/[^/]+/tpgt_1/acls/[^/]+/lun_\d+$`),
		files: map[string]string{"write_protect": "1"},
	},
}

// Mkdir implements lio.Tree.
func (k *Tree) Mkdir(path string) error {
	if there, err := k.Exists(path); there || err != nil {
		return err
	}
	if err := k.record("mkdir", path); err != nil {
		return err
	}
	for _, kind := range kinds {
		if kind.path.MatchString(path) {
			return k.make(path, kind.files, kind.dirs)
		}
	}
	k.t.Errorf("the kernel has no such object: %s", path)
	return unix.EPERM
}

func (k *Tree) make(path string, files map[string]string, dirs []string) error {
	if err := os.Mkdir(k.real(path), 0o700); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := os.MkdirAll(k.real(path+"/"+d), 0o700); err != nil {
			return err
		}
	}
	for name, value := range files {
		if name == "attrib/authentication" && strings.Contains(path, "/acls/") && k.OldKernel {
			continue
		}
		if err := os.WriteFile(k.real(path+"/"+name), []byte(value+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Rmdir implements lio.Tree: an object with others in it, or with a link to it, stays.
func (k *Tree) Rmdir(path string) error {
	if there, err := k.Exists(path); !there || err != nil {
		return err
	}
	for _, other := range k.Objects("iscsi") {
		if to, err := k.Readlink(other); err == nil && to == path {
			return fmt.Errorf("rmdir %s, which %s links to: %w", path, other, unix.EBUSY)
		}
	}
	if inside := k.Objects(path); len(inside) > 1 {
		return fmt.Errorf("rmdir %s with %v: %w", path, inside, unix.ENOTEMPTY)
	}
	if err := k.record("rmdir", path); err != nil {
		return err
	}
	return os.RemoveAll(k.real(path))
}

// Write implements lio.Tree.
func (k *Tree) Write(path, value string) error {
	line := path + " = " + value
	if strings.Contains(path, "/auth/") {
		line = path
	}
	if err := k.record("write", line); err != nil {
		return err
	}
	if strings.Contains(value, "\n") {
		k.t.Errorf("a newline is written to %s", path)
	}
	switch filepath.Base(path) {
	case "control":
		return k.set(filepath.Dir(path)+"/udev_path", strings.TrimPrefix(value, "udev_path="))
	case "vpd_unit_serial":
		value = "T10 VPD Unit Serial Number: " + value
	}
	return k.set(path, value)
}

func (k *Tree) set(path, value string) error {
	f, err := os.OpenFile(k.real(path), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(err, f.Close())
}

// Link implements lio.Tree.
func (k *Tree) Link(target, path string) error {
	if there, err := k.Exists(target); !there || err != nil {
		return errors.Join(fmt.Errorf("link to %s: %w", target, unix.ENOENT), err)
	}
	if err := k.record("link", path+" -> "+target); err != nil {
		return err
	}
	return k.Dir.Link(target, path)
}

// Unlink implements lio.Tree.
func (k *Tree) Unlink(path string) error {
	if err := k.record("unlink", path); err != nil {
		return err
	}
	return k.Dir.Unlink(path)
}

// SetSession makes an initiator logged in, or not.
func (k *Tree) SetSession(iqn, initiator string, loggedIn bool) {
	k.t.Helper()
	info := "No active iSCSI Session for Initiator Endpoint: " + initiator
	if loggedIn {
		info = "InitiatorName: " + initiator + "\nLIO Session ID: 1"
	}
	if err := k.set("iscsi/"+iqn+"/tpgt_1/acls/"+initiator+"/info", info); err != nil {
		k.t.Fatal(err)
	}
}
