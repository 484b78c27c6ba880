// E2eimages packs the container images that Kubernetes' end-to-end tests of storage ask for, under the names that these have in
// Kubernetes 1.36: hack/cluster/e2e-run calls it. Agnhost is the real one; the others are stand-ins of busybox.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/portbind/portbind/hack/cluster/image"
)

// testImages is where Kubernetes keeps its own.
const testImages = "registry.k8s.io/e2e-test-images/"

type files struct{ busybox, agnhost, pause, dd, sh string }

func main() {
	var f files
	flag.StringVar(&f.busybox, "busybox", "", "a static busybox")
	flag.StringVar(&f.agnhost, "agnhost", "", "agnhost, static")
	flag.StringVar(&f.pause, "pause", "", "what holds a pod's namespaces, static")
	flag.StringVar(&f.dd, "dd", "/usr/bin/dd", "GNU dd: busybox's has no oflag=nocache")
	flag.StringVar(&f.sh, "sh", "/usr/bin/dash", "a shell that starts that dd: busybox's starts its own")
	to := flag.String("to", "", "the archive")
	flag.Parse()
	if err := write(f, *to); err != nil {
		fmt.Fprintln(os.Stderr, "e2eimages:", err)
		os.Exit(1)
	}
}

func write(f files, to string) error {
	applets, err := image.Applets(f.busybox)
	if err != nil {
		return err
	}
	shell := func(ref string) image.Image {
		return image.Image{
			Refs: []string{testImages + ref}, Files: map[string]string{"bin/busybox": f.busybox}, Links: applets, Dirs: []string{"tmp"},
		}
	}
	agnhost := shell("agnhost:2.63.0")
	agnhost.Files["agnhost"] = f.agnhost
	agnhost.Entrypoint = []string{"/agnhost"}
	gnu, err := withProgram(shell("glibc-dns-testing:2.0.0"), "bin/dd", f.dd)
	if err != nil {
		return err
	}
	if gnu, err = withProgram(gnu, "bin/sh", f.sh); err != nil {
		return err
	}
	pause := image.Image{
		Refs: []string{"registry.k8s.io/pause:3.10.2"}, Files: map[string]string{"pause": f.pause}, Entrypoint: []string{"/pause"},
	}
	// Nginx is only asked to run a shell's script.
	return image.Write(to, []image.Image{shell("busybox:1.37.0-1"), shell("nginx:1.15-4"), agnhost, gnu, pause})
}

// withProgram puts a program of this machine into the image, with the libraries that it is linked to.
func withProgram(i image.Image, path, file string) (image.Image, error) {
	out, err := exec.Command("ldd", file).Output() //nolint:gosec // what the caller gave
	if err != nil {
		return i, fmt.Errorf("ldd %s: %w", file, err)
	}
	for word := range strings.FieldsSeq(string(out)) {
		if library, ok := strings.CutPrefix(word, "/"); ok {
			i.Files[library] = word
		}
	}
	links := map[string]string{}
	for name, target := range i.Links {
		if name != path {
			links[name] = target
		}
	}
	i.Links, i.Files[path] = links, file
	return i, nil
}
