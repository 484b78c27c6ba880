// Package image packs programs into container images without an engine: one layer each, in the archive format that
// `docker save` writes and containerd imports.
package image

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// Image is what goes into one image.
type Image struct {
	Refs       []string
	Arch       string            // as Go calls it; empty: amd64
	Files      map[string]string // path in the image, without a leading slash -> file here, to be executable
	Links      map[string]string // path in the image -> what it points to
	Dirs       []string          // writable by all
	Entrypoint []string
	Env        []string
}

// Quiet keeps Go's runtime from sending itself signals, which are dear in User-Mode Linux: importing images takes a third less time.
const Quiet = "GODEBUG=asyncpreemptoff=1"

// Write writes an archive with all images.
func Write(to string, images []Image) error {
	f, err := os.Create(to + ".new")
	if err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	defer f.Close()
	w := &archive{tar: tar.NewWriter(f), layers: map[string]bool{}}
	for _, i := range images {
		if err := w.add(i); err != nil {
			return fmt.Errorf("image %s: %w", i.Refs[0], err)
		}
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("image archive: %w", err)
	}
	return os.Rename(to+".new", to)
}

type archive struct {
	tar      *tar.Writer
	layers   map[string]bool
	manifest []manifest
}

type manifest struct {
	Config   string   `json:"Config"`
	RepoTags []string `json:"RepoTags"`
	Layers   []string `json:"Layers"`
}

func (a *archive) add(i Image) error {
	layer, err := pack(i)
	if err != nil {
		return err
	}
	digest := digestOf(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": cmp.Or(i.Arch, "amd64"), "os": "linux", "created": epoch,
		"config":  map[string]any{"Entrypoint": i.Entrypoint, "Env": append([]string{"PATH=/bin"}, i.Env...)},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
		"history": []map[string]any{{"created": epoch}},
	})
	if err != nil {
		return err
	}
	m := manifest{Config: digestOf(config) + ".json", RepoTags: i.Refs, Layers: []string{digest + "/layer.tar"}}
	a.manifest = append(a.manifest, m)
	if !a.layers[digest] {
		a.layers[digest] = true
		if err := a.file(m.Layers[0], layer); err != nil {
			return err
		}
	}
	return a.file(m.Config, config)
}

// epoch is the time of everything in an image: same contents, same digest.
const epoch = "1970-01-01T00:00:00Z"

func (a *archive) file(name string, data []byte) error {
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := a.tar.Write(data)
	return err
}

func (a *archive) finish() error {
	data, err := json.Marshal(a.manifest)
	if err != nil {
		return err
	}
	if err := a.file("manifest.json", data); err != nil {
		return err
	}
	return a.tar.Close()
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// pack makes the layer: directories first, then everything by name.
func pack(i Image) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, dir := range i.directories() {
		mode := int64(0o755)
		if slices.Contains(i.Dirs, dir) {
			mode = 0o1777
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode}); err != nil {
			return nil, err
		}
	}
	for _, name := range sorted(i.Files) {
		if err := packFile(w, name, i.Files[name]); err != nil {
			return nil, err
		}
	}
	for _, name := range sorted(i.Links) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: i.Links[name], Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func packFile(w *tar.Writer, name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// directories are those asked for and those that the files are in, parents first.
func (i Image) directories() []string {
	all := slices.Clone(i.Dirs)
	for _, names := range []map[string]string{i.Files, i.Links} {
		for name := range names {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				all = append(all, dir)
			}
		}
	}
	slices.SortFunc(all, strings.Compare)
	return slices.Compact(all)
}

func sorted(m map[string]string) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
