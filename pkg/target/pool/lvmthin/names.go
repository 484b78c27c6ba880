package lvmthin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portbind/portbind/pkg/target/pool"
)

// LVs carry the tag ours and nothing without it is ever touched; the other tags say what the LV is.
const (
	ours       = "portbind"
	tagPool    = "portbind.pool="
	tagKind    = "portbind.kind="
	tagName    = "portbind.name="
	tagSerial  = "portbind.serial="
	tagSource  = "portbind.source="
	tagCreated = "portbind.created="
	tagGrow    = "portbind.grow="
	// tagAttribute is followed by KEY=VALUE.
	tagAttribute = "portbind.attribute."
	volumePrefix = "pbv_"
	snapPrefix   = "pbs_"
	// maxDMName is DM_NAME_LEN of the kernel less its NUL.
	maxDMName = 127
)

type kind string

const (
	volumeKind   kind = "volume"
	snapshotKind kind = "snapshot"
)

// lv is one of our logical volumes, as its tags and size tell.
type lv struct {
	// lv is LVM's name of it, name ours.
	lv     string
	kind   kind
	pool   string
	name   string
	size   int64
	serial string
	source pool.Source
	// created is when the lvcreate was begun.
	created time.Time
	// grow marks a clone that is not finished: it still has to grow to so many bytes.
	grow int64
	// attributes are the client's.
	attributes map[string]string
}

func volumeLV(name string) string   { return volumePrefix + name }
func snapshotLV(name string) string { return snapPrefix + name }

// checkName refuses names that the device mapper could not carry: VG-LV, hyphens doubled, at most 127 bytes.
func checkName(vg, lvName string) error {
	doubled := func(s string) int { return len(s) + strings.Count(s, "-") }
	if n := doubled(vg) + 1 + doubled(lvName); n > maxDMName {
		return fmt.Errorf("%w: name %q makes a device name of %d characters (hyphens count twice), at most %d are possible",
			pool.ErrInvalid, lvName, n, maxDMName)
	}
	return nil
}

// tags are all that an LV is made with, in one lvcreate: it is never there without them.
func (l lv) tags() []string {
	t := []string{
		ours,
		tagPool + l.pool,
		tagKind + string(l.kind),
		tagName + l.name,
		tagCreated + l.created.UTC().Format(time.RFC3339Nano),
	}
	if l.serial != "" {
		t = append(t, tagSerial+l.serial)
	}
	if l.source.Kind != pool.Empty {
		t = append(t, tagSource+string(l.source.Kind)+"/"+l.source.Name)
	}
	if l.grow > 0 {
		t = append(t, growTag(l.grow))
	}
	return append(t, attributeTags(l.attributes)...)
}

func attributeTags(attributes map[string]string) []string {
	var t []string
	for _, key := range slices.Sorted(maps.Keys(attributes)) {
		t = append(t, tagAttribute+key+"="+attributes[key])
	}
	return t
}

func growTag(size int64) string { return fmt.Sprintf("%s%d", tagGrow, size) }

// volume is what the world sees of it.
func (l lv) volume() pool.Volume {
	return pool.Volume{
		Name: l.name, Size: l.size, Serial: l.serial, Source: l.source, Created: l.created, Attributes: maps.Clone(l.attributes),
	}
}

func (l lv) snapshot() pool.Snapshot {
	return pool.Snapshot{Name: l.name, Source: l.source.Name, Size: l.size, Created: l.created}
}
