package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/portbind/portbind/hack/cluster/image"
	"github.com/portbind/portbind/hack/cluster/layout"
	"github.com/portbind/portbind/hack/cluster/member"
)

// The images of other projects, by the names that charts call them.
const sig = "registry.k8s.io/sig-storage/"

// sidecars are programs that kube-build makes, with the image that each is in.
func sidecars() map[string]string {
	return map[string]string{
		"csi-provisioner":           sig + "csi-provisioner:v6.3.0",
		"csi-attacher":              sig + "csi-attacher:v4.13.0",
		"csi-resizer":               sig + "csi-resizer:v2.3.0",
		"csi-snapshotter":           sig + "csi-snapshotter:v8.7.0",
		"snapshot-controller":       sig + "snapshot-controller:v8.7.0",
		"csi-node-driver-registrar": sig + "csi-node-driver-registrar:lab",
		"livenessprobe":             sig + "livenessprobe:lab",
	}
}

// driverImage is the driver as built from this working tree.
const driverImage = "lab.local/portbind-csi:lab"

func imageArchives(l *layout.Layout) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "images", Short: "Pack the container images", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return packAll(*l, dir) },
	}
	c.Flags().StringVar(&dir, "to", "", "directory of the archives")
	return c
}

// packAll makes two archives, so that a new driver does not mean to import everything: named by their contents, the older
// ones removed.
func packAll(l layout.Layout, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	busybox, err := busyboxImage(l)
	if err != nil {
		return err
	}
	others := []image.Image{busybox, program(filepath.Join(l.Root, ".cache/cluster/bin/pause"), "pause", member.PauseImage)}
	refs := sidecars()
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		sidecar := program(l.Program(fileOf(name)), name, refs[name])
		sidecar.Env = []string{image.Quiet}
		others = append(others, sidecar)
	}
	driver := program(l.Bin("portbind-csi"), "portbind-csi", driverImage)
	if err := pack(dir, "others", others); err != nil {
		return err
	}
	return pack(dir, "driver", []image.Image{driver})
}

// fileOf is what kube-build calls a program: Go names it after its directory.
func fileOf(program string) string {
	if program == "csi-node-driver-registrar" {
		return "registrar"
	}
	return program
}

func program(file, name, ref string) image.Image {
	return image.Image{Refs: []string{ref}, Files: map[string]string{name: file}, Entrypoint: []string{"/" + name}}
}

// busyboxImage is a small system to run in pods.
func busyboxImage(l layout.Layout) (image.Image, error) {
	file := l.Debian("bin/busybox")
	applets, err := image.Applets(file)
	return image.Image{
		Refs: []string{"docker.io/library/busybox:lab"}, Files: map[string]string{"bin/busybox": file},
		Links: applets, Dirs: []string{"tmp"}, Entrypoint: []string{"/bin/sh"},
	}, err
}

// pack writes an archive unless it is there.
func pack(dir, name string, images []image.Image) error {
	sum := sha256.New()
	for _, i := range images {
		fmt.Fprintln(sum, i.Refs, i.Env)
	}
	for _, i := range images {
		for _, file := range i.Files {
			if err := addTo(sum, file); err != nil {
				return err
			}
		}
	}
	path := filepath.Join(dir, name+"-"+hex.EncodeToString(sum.Sum(nil))[:16]+".tar")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	old, err := filepath.Glob(filepath.Join(dir, name+"-*"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return err
		}
	}
	return image.Write(path, images)
}

func addTo(sum io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(sum, f)
	return err
}
