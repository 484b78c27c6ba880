package sysfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree lays out a capture of testdata/capture.sh.
func tree(t *testing.T, name string) FS {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for text := string(data); text != ""; {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		fields := strings.Fields(line)
		path := filepath.Join(root, fields[1])
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if fields[0] == "l" {
			must(t, os.Symlink(fields[2], path))
			continue
		}
		var size int
		if _, err := fmt.Sscan(fields[2], &size); err != nil {
			t.Fatal(line, err)
		}
		must(t, os.WriteFile(path, []byte(text[:size]), 0o600))
		text = text[size+1:]
	}
	return FS(root)
}

// remove takes a file or directory out of a tree.
func remove(t *testing.T, f FS, names ...string) {
	t.Helper()
	must(t, os.RemoveAll(f.path(names...)))
}

// content is what a write left in a file.
func content(t *testing.T, f FS, names ...string) string {
	t.Helper()
	data, err := os.ReadFile(f.path(names...))
	must(t, err)
	return string(data)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// truncate empties a file, as a sysfs attribute that is only written to looks.
func (f FS) truncate(names ...string) error { return os.Truncate(f.path(names...), 0) }
