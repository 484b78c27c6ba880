package image

import (
	"fmt"
	"os/exec"
	"strings"
)

// Applets are the links by which a busybox in an image's bin is called all that it can be.
func Applets(busybox string) (map[string]string, error) {
	names, err := exec.Command(busybox, "--list").Output() //nolint:gosec // the lab's own
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	links := map[string]string{}
	for name := range strings.FieldsSeq(string(names)) {
		if name != "busybox" {
			links["bin/"+name] = "busybox"
		}
	}
	return links, nil
}
