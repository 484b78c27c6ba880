package multipath

import (
	"regexp"
	"strings"
)

// uuidPrefix marks the maps of dm-multipath (libmultipath, UUID_PREFIX).
const uuidPrefix = "mpath-"

// UUID returns the map's dm uuid for multipathd's WWID of a disk.
func UUID(id string) string { return uuidPrefix + id }

var naaRE = regexp.MustCompile(`^naa\.([0-9a-f]{16}|[0-9a-f]{32})$`)

// ID returns what multipathd calls the disk whose /sys/block/sdX/device/wwid is wwid, when that is certain: for NAA
// names, which scsi_id, sg3-utils' rules and libmultipath all prefer over any other designator and write as "3" and
// the digits (SPC-4 7.8.6.6: designator type 3). For other names only multipathd can tell.
func ID(wwid string) (string, bool) {
	m := naaRE.FindStringSubmatch(strings.ToLower(wwid))
	if m == nil {
		return "", false
	}
	return "3" + m[1], true
}

// WWID is the reverse of ID: the sysfs name for multipathd's, when it is of an NAA name.
func WWID(id string) (string, bool) {
	if len(id) == 0 || id[0] != '3' || !naaRE.MatchString("naa."+id[1:]) {
		return "", false
	}
	return "naa." + id[1:], true
}
