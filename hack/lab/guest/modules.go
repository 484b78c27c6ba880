package guest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// moduleSet loads kernel modules without a fork each: 25 ms apiece in User-Mode Linux.
type moduleSet struct {
	dir    string
	deps   map[string][]string // module name -> files to load, dependencies first
	loaded map[string]bool
}

func openModules(dir string) (*moduleSet, error) {
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	defer f.Close()
	m := &moduleSet{dir: dir, deps: map[string][]string{}, loaded: map[string]bool{}}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		file, deps, ok := strings.Cut(sc.Text(), ":")
		if !ok {
			continue
		}
		files := append([]string{file}, strings.Fields(deps)...)
		for i, j := 0, len(files)-1; i < j; i, j = i+1, j-1 {
			files[i], files[j] = files[j], files[i] // modprobe loads from the end
		}
		m.deps[moduleName(file)] = files
	}
	return m, sc.Err()
}

// moduleName is the kernel's name of a module file: dashes and underscores are the same.
func moduleName(file string) string {
	base, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

// load loads a module and what it needs. A module that is not there as a file is taken to be built in; scenarios
// declare the features they need and check them.
// Parameters may follow the name.
func (m *moduleSet) load(module string) error {
	name, params, _ := strings.Cut(module, " ")
	files := m.deps[strings.ReplaceAll(name, "-", "_")]
	for i, file := range files {
		if m.loaded[file] {
			continue
		}
		p := ""
		if i == len(files)-1 {
			p = params
		}
		if err := insmod(filepath.Join(m.dir, file), p); err != nil {
			return err
		}
		m.loaded[file] = true
	}
	return nil
}

func insmod(path, params string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel module: %w", err)
	} else if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), params, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

func kernelRelease() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}
