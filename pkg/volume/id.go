package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

const (
	// StaticTarget is the reserved target name of volumes that were not made by this driver.
	StaticTarget = "static"

	// MaxTargetName and MaxPoolName bound these names so that an id keeps within the 128 bytes that the CSI
	// specification grants ("Size Limits").
	MaxTargetName = 31
	// MaxPoolName is as MaxTargetName.
	MaxPoolName = 31
	maxName     = 63
	maxID       = 128
	maxCSIName  = 128

	hashPrefix = "h-"
	// hashBytes of SHA-256 as hex and the prefix make 62 characters.
	hashBytes = 30

	nameRule = "characters a-z, 0-9, '.' and '-', the first and last a letter or digit"
	idForm   = "<target>/<pool>/<name> or static/<name>, each of " + nameRule
)

// ID names a volume or a snapshot in the whole cluster. Pool is empty for a static volume.
type ID struct {
	Target, Pool, Name string
}

// String is the id as the CO keeps it: what ParseVolumeID takes.
func (id ID) String() string {
	if id.IsStatic() {
		return StaticTarget + "/" + id.Name
	}
	return id.Target + "/" + id.Pool + "/" + id.Name
}

// IsStatic says that the volume was not made by this driver.
func (id ID) IsStatic() bool { return id.Target == StaticTarget }

// ParseVolumeID reads a volume id. A harmless string of another form gives an error that is ErrForeign: such a volume
// does not exist. Anything else gives a plain *FieldError.
func ParseVolumeID(s string) (ID, error) { return parseID("volume_id", s) }

// ParseSourceVolumeID is ParseVolumeID for the source of a snapshot.
func ParseSourceVolumeID(s string) (ID, error) { return parseID("source_volume_id", s) }

// ParseSnapshotID reads a snapshot id, as ParseVolumeID; static volumes have no snapshots.
func ParseSnapshotID(s string) (ID, error) {
	id, err := parseID("snapshot_id", s)
	if err == nil && id.IsStatic() {
		return ID{}, foreign("snapshot_id", s, idForm)
	}
	return id, err
}

func parseID(field, s string) (ID, error) {
	if s == "" {
		return ID{}, missing(field, idForm)
	}
	if !harmless(s) {
		return ID{}, NewFieldError(field, s, idForm)
	}
	parts := strings.Split(s, "/")
	switch {
	case len(parts) == 2 && parts[0] == StaticTarget && validName(parts[1], maxName):
		return ID{Target: StaticTarget, Name: parts[1]}, nil
	case len(parts) == 3 && parts[0] != StaticTarget && validName(parts[0], MaxTargetName) &&
		validName(parts[1], MaxPoolName) && validName(parts[2], maxName):
		return ID{Target: parts[0], Pool: parts[1], Name: parts[2]}, nil
	}
	return ID{}, foreign(field, s, idForm)
}

func foreign(field, s, form string) error {
	e := NewFieldError(field, s, form)
	e.Err = ErrForeign
	return e
}

// harmless says that s could be an id of some driver: bounded, no control characters, no path tricks, no option.
func harmless(s string) bool {
	if len(s) > maxID || strings.Contains(s, "..") || strings.Contains(s, "//") {
		return false
	}
	if !isAlnum(lower(s[0])) || !isAlnum(lower(s[len(s)-1])) {
		return false
	}
	for i := range len(s) {
		if c := lower(s[i]); !isAlnum(c) && !strings.ContainsRune("._:/-", rune(c)) {
			return false
		}
	}
	return true
}

// MapName gives the name on the target for the name that the CO suggests. A name that fits the target's rule is taken
// as it is; any other becomes "h-" and a hash. Names that begin with "h-" are hashed as well, so that no chosen name
// can meet a hashed one.
func MapName(csiName string) (string, error) {
	if csiName == "" {
		return "", missing("name", fmt.Sprintf("1 to %d bytes", maxCSIName))
	}
	if len(csiName) > maxCSIName || hasControl(csiName) {
		return "", NewFieldError("name", csiName, fmt.Sprintf("1 to %d bytes without control characters", maxCSIName))
	}
	if validName(csiName, maxName) && !strings.HasPrefix(csiName, hashPrefix) {
		return csiName, nil
	}
	sum := sha256.Sum256([]byte(csiName))
	return hashPrefix + hex.EncodeToString(sum[:hashBytes]), nil
}

// CheckTargetName refuses what cannot be the name of a configured target.
func CheckTargetName(field, name string) error {
	if name == StaticTarget || !validName(name, MaxTargetName) {
		return NewFieldError(field, name, fmt.Sprintf("1 to %d %s, and not %q", MaxTargetName, nameRule, StaticTarget))
	}
	return nil
}

// CheckPoolName refuses what cannot be the name of a pool in an id.
func CheckPoolName(field, name string) error {
	if !validName(name, MaxPoolName) {
		return NewFieldError(field, name, fmt.Sprintf("1 to %d %s", MaxPoolName, nameRule))
	}
	return nil
}

// validName is the target's rule for names (pkg/targetapi/v1, VolumeKey), with a bound of the caller's.
func validName(s string, most int) bool {
	if s == "" || len(s) > most || !isAlnum(s[0]) || !isAlnum(s[len(s)-1]) || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// hasControl finds the characters that the CSI specification bans in strings, and line breaks, which no name needs.
func hasControl(s string) bool {
	for _, r := range s {
		if r < 0x20 || 0x7f <= r && r <= 0x9f || r == '\u2028' || r == '\u2029' || r == '\ufffd' {
			return true
		}
	}
	return false
}
