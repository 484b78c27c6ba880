package image_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/hack/cluster/image"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("machine code"), 0o600); err != nil {
		t.Fatal(err)
	}
	images := []image.Image{
		{Refs: []string{"a:1", "b:1"}, Files: map[string]string{"bin/program": program}, Entrypoint: []string{"/bin/program"}},
		{
			Refs: []string{"c:1"}, Files: map[string]string{"bin/program": program}, Links: map[string]string{"bin/other": "program"},
			Dirs: []string{"tmp"},
		},
	}
	first, second := filepath.Join(dir, "1.tar"), filepath.Join(dir, "2.tar")
	for _, to := range []string{first, second} {
		if err := image.Write(to, images); err != nil {
			t.Fatal(err)
		}
	}
	files := entries(t, open(t, first))
	if diff := cmp.Diff(files, entries(t, open(t, second)), cmp.AllowUnexported(entry{})); diff != "" {
		t.Errorf("written twice, archives differ:\n%s", diff)
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"].data, &manifest); err != nil {
		t.Fatal(err)
	}
	if got := manifest[0].RepoTags; !cmp.Equal(got, images[0].Refs) {
		t.Errorf("names of the first image: %v", got)
	}
	want := map[string]int64{"bin/": 0o755, "bin/program": 0o755, "bin/other": 0o777, "tmp/": 0o1777}
	got := map[string]int64{}
	for name, e := range entries(t, bytes.NewReader(files[manifest[1].Layers[0]].data)) {
		got[name] = e.mode
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("layer of the second image:\n%s", diff)
	}
}

type entry struct {
	mode int64
	data []byte
}

func open(t *testing.T, path string) io.Reader {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func entries(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = entry{h.Mode, data}
	}
}
