// Command imagetar packs the driver's binary into a container image without a container engine: an archive that containerd imports
// (`ctr images import`) and that docker and podman load.
package main

import (
	"debug/buildinfo"
	"flag"
	"fmt"
	"os"

	"github.com/portbind/portbind/hack/cluster/image"
)

func main() {
	name := flag.String("name", "", "of the image, with registry and tag: localhost/portbind-csi:v1")
	to := flag.String("to", "", "the archive")
	flag.Parse()
	if err := pack(*name, *to, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "imagetar:", err)
		os.Exit(1)
	}
}

func pack(name, to string, binaries []string) error {
	if name == "" || to == "" || len(binaries) != 1 {
		return fmt.Errorf("want -name, -to and one binary, have %d", len(binaries))
	}
	info, err := buildinfo.ReadFile(binaries[0])
	if err != nil {
		return fmt.Errorf("architecture of %s: %w", binaries[0], err)
	}
	return image.Write(to, []image.Image{{
		Refs:       []string{name},
		Arch:       setting(info, "GOARCH"),
		Files:      map[string]string{"portbind-csi": binaries[0]},
		Entrypoint: []string{"/portbind-csi"},
	}})
}

// setting is a setting of the build that the linker has recorded.
func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
