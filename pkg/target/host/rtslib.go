package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ErrRTSLib is a host whose kernel target is ruled by rtslib's boot service. That restores its own configuration and,
// when it is stopped, clears the whole of the kernel's: a volume of ours would vanish under its writers.
var ErrRTSLib = errors.New("rtslib's service rules this host's iSCSI target")

// units are the service's names: Debian's, and everybody else's.
var units = []string{"rtslib-fb-targetctl.service", "target.service", "targetctl.service"}

// saved are where rtslib keeps what it restores.
var saved = []string{"etc/rtslib-fb-target/saveconfig.json", "etc/target/saveconfig.json"}

// CheckRTSLib refuses a host where the service is enabled or active, or where what it had saved is in the kernel now.
func (h Host) CheckRTSLib(ctx context.Context) error {
	for _, unit := range units {
		if where := h.enabled(unit); where != "" {
			return refuse(fmt.Sprintf("%s is enabled (%s)", unit, where), unit)
		}
	}
	if unit, err := h.active(ctx); err != nil {
		return err
	} else if unit != "" {
		return refuse(unit+" is active", unit)
	}
	for _, path := range saved {
		names, err := readSaved(h.path(path))
		if err != nil {
			return err
		}
		for _, object := range names {
			if _, err := os.Stat(h.path("sys/kernel/config/target", object)); err == nil {
				return refuse(fmt.Sprintf("%s of /%s is in the kernel", object, path), units[0])
			}
		}
	}
	return nil
}

func refuse(why, unit string) error {
	return fmt.Errorf("%w: %s. Use another host, or give this one up as an rtslib target: move its exports elsewhere, "+
		"then targetcli clearconfig confirm=True, systemctl disable --now %s, systemctl mask %s", ErrRTSLib, why, unit, unit)
}

// enabled finds the link that starts a unit at boot.
func (h Host) enabled(unit string) string {
	for _, dir := range []string{"etc/systemd/system", "run/systemd/system"} {
		for _, kind := range []string{"*.wants", "*.requires"} {
			links, err := filepath.Glob(h.path(dir, kind, unit))
			if err == nil && len(links) > 0 {
				return links[0]
			}
		}
	}
	return ""
}

// active asks systemd, where it runs.
func (h Host) active(ctx context.Context) (string, error) {
	if _, err := os.Stat(h.path("run/systemd/system")); err != nil {
		return "", nil //nolint:nilerr // No systemd, no services.
	}
	out, err := h.Runner.Run(ctx, nil, "systemctl", append([]string{"show", "--property=Id,ActiveState"}, units...)...)
	if err != nil {
		return "", fmt.Errorf("ask systemd about rtslib: %w", err)
	}
	return activeUnit(string(out)), nil
}

// activeUnit reads systemctl show: paragraphs of key=value, one for each unit.
func activeUnit(out string) string {
	for paragraph := range strings.SplitSeq(out, "\n\n") {
		var id, state string
		for line := range strings.SplitSeq(paragraph, "\n") {
			switch key, value, _ := strings.Cut(line, "="); key {
			case "Id":
				id = value
			case "ActiveState":
				state = value
			}
		}
		if state == "active" || state == "activating" || state == "reloading" {
			return id
		}
	}
	return ""
}

// readSaved gives the configfs paths of what a saveconfig.json holds; none when there is no such file.
func readSaved(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rtslib's configuration: %w", err)
	}
	names, err := parseSaved(data)
	if err != nil {
		return nil, fmt.Errorf("rtslib's configuration %s: %w", path, err)
	}
	return names, nil
}

// parseSaved finds the iSCSI targets of a saveconfig.json. Backstores are not looked for: their HBA numbers change
// with each restore.
func parseSaved(data []byte) ([]string, error) {
	var c struct {
		Targets []struct {
			Fabric string `json:"fabric"`
			WWN    string `json:"wwn"`
		} `json:"targets"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	var names []string
	for _, t := range c.Targets {
		if t.Fabric == "iscsi" && t.WWN != "" && filepath.IsLocal(t.WWN) {
			names = append(names, filepath.Join("iscsi", t.WWN))
		}
	}
	return names, nil
}
