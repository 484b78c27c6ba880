package sysfs

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// Map is a device-mapper device.
type Map struct {
	// Device is the kernel's name ("dm-3"), reused as soon as the map is gone: never an identity.
	Device string
	// Name is device-mapper's, the one in /dev/mapper. UUID is its identity: "mpath-<wwid>" for multipath maps.
	Name, UUID string
	// Slaves are the kernel names of the devices below, sorted.
	Slaves       []string
	SizeBytes    int64
	Major, Minor uint32
	Suspended    bool
	ReadOnly     bool
}

// Maps lists all device-mapper devices by Device. Maps without a UUID (a table being created) are listed, too.
func (f FS) Maps() ([]Map, error) {
	names, err := f.list("block")
	if err != nil {
		return nil, err
	}
	var maps []Map
	for _, name := range names {
		if !strings.HasPrefix(name, "dm-") {
			continue
		}
		m, err := f.Map(name)
		if errors.Is(err, ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// Map reads one by its kernel name: ErrGone when there is none.
func (f FS) Map(device string) (Map, error) {
	r := reader{fs: f, dir: filepath.Join("block", device)}
	m := Map{
		Device:    device,
		Name:      r.text("dm/name"),
		UUID:      r.text("dm/uuid"),
		SizeBytes: r.number("size") * sectorSize,
		Suspended: r.text("dm/suspended") == "1",
		ReadOnly:  r.optional("ro") == "1",
	}
	var err error
	m.Major, m.Minor, err = parseDev(r.text("dev"))
	if err = errors.Join(r.err, err); err != nil {
		return Map{}, err
	}
	m.Slaves, err = f.list("block", device, "slaves")
	return m, err
}

// MapByUUID finds a map by its identity: ErrGone when there is none.
func (f FS) MapByUUID(uuid string) (Map, error) {
	names, err := f.list("block")
	if err != nil {
		return Map{}, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, "dm-") {
			continue
		}
		if got, err := f.read("block", name, "dm", "uuid"); err != nil || got != uuid {
			continue
		}
		// The number may have passed to another map since: Map's own UUID decides.
		m, err := f.Map(name)
		if err == nil && m.UUID == uuid {
			return m, nil
		}
		if err != nil && !errors.Is(err, ErrGone) {
			return Map{}, err
		}
	}
	return Map{}, &Error{Op: "find", Path: f.path("block"), Err: errors.Join(ErrGone, errors.New("no map "+uuid))}
}

// Holders gives the kernel names of the devices that are built on a disk or map, sorted; none when it is gone.
func (f FS) Holders(name string) ([]string, error) {
	names, err := f.list("block", name, "holders")
	return slices.Clip(names), err
}
