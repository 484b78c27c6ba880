package volume

import (
	"fmt"
	"slices"
	"strings"
)

// AccessMode is a CSI access mode.
type AccessMode int

// The access modes of the CSI specification.
const (
	AccessUnknown AccessMode = iota
	SingleNodeWriter
	SingleNodeReaderOnly
	SingleNodeSingleWriter
	SingleNodeMultiWriter
	MultiNodeReaderOnly
	MultiNodeSingleWriter
	MultiNodeMultiWriter
)

const (
	maxMountOptions     = 64
	maxMountOptionBytes = 4096 // The CSI specification's limit for mount_flags as a whole.
)

// Capability is how a volume is to be used.
type Capability struct {
	// Block is a raw block device; otherwise a file system is mounted.
	Block bool
	Mode  AccessMode
	// FSType is empty when the CO does not name one. MountOptions are those of the StorageClass. Neither for Block.
	FSType       string
	MountOptions []string
}

// Shared says that several nodes may have the volume at the same time.
func (c Capability) Shared() bool {
	return c.Mode == MultiNodeReaderOnly || c.Mode == MultiNodeSingleWriter || c.Mode == MultiNodeMultiWriter
}

// ReadOnly says that nobody may write, wherever it is published.
func (c Capability) ReadOnly() bool {
	return c.Mode == SingleNodeReaderOnly || c.Mode == MultiNodeReaderOnly
}

// Check refuses what this driver does not offer: several nodes write to raw block volumes only, since none of the
// file systems is a cluster file system. Many readers of one file system are fine, since nothing is written: every
// publication is read-only, down to the target. Errors are *FieldError.
func (c Capability) Check() error {
	const field = "volume_capability.access_mode"
	switch c.Mode {
	case SingleNodeWriter, SingleNodeReaderOnly, SingleNodeSingleWriter, SingleNodeMultiWriter, MultiNodeReaderOnly:
	case MultiNodeSingleWriter, MultiNodeMultiWriter:
		if !c.Block {
			return &FieldError{
				Field: field, Value: "several nodes with a writer on a file system",
				Allowed: "SINGLE_NODE_* or MULTI_NODE_READER_ONLY for a file system; MULTI_NODE_* for raw block volumes",
			}
		}
	case AccessUnknown:
		return missing(field, "an access mode of the CSI specification")
	default:
		return NewFieldError(field, fmt.Sprint(int(c.Mode)), "an access mode of the CSI specification")
	}
	if _, err := parseFSType("volume_capability.mount.fs_type", c.FSType); err != nil {
		return err
	}
	return checkMountOptions(c.MountOptions)
}

// ResolveFSType gives the file system of a volume: what the class and the CO say must agree, and ext4 is the default.
func ResolveFSType(class, capability string) (string, error) {
	switch {
	case class == "" && capability == "":
		return DefaultFSType, nil
	case class == "" || class == capability:
		return parseFSType("volume_capability.mount.fs_type", capability)
	case capability == "":
		return class, nil
	default:
		return "", NewFieldError("volume_capability.mount.fs_type", capability, class+`, as parameters["fsType"] says`)
	}
}

// placing options change where or what is mounted, not how.
var placingOptions = []string{"bind", "rbind", "move", "remount", "loop", "shared", "rshared", "slave", "rslave"}

func checkMountOptions(options []string) error {
	const field = "volume_capability.mount.mount_flags"
	total := 0
	for _, o := range options {
		total += len(o)
	}
	if len(options) > maxMountOptions || total > maxMountOptionBytes {
		return &FieldError{
			Field: field, Value: fmt.Sprintf("%d options of %d bytes", len(options), total),
			Allowed: fmt.Sprintf("at most %d options and %d bytes", maxMountOptions, maxMountOptionBytes),
		}
	}
	for _, o := range options {
		if !validMountOption(o) {
			return NewFieldError(field, o, "one mount option per entry, of printable ASCII without spaces, beginning with a letter")
		}
		if name, _, _ := strings.Cut(o, "="); slices.Contains(placingOptions, name) {
			return NewFieldError(field, o, "options of the file system, not of its place")
		}
	}
	return nil
}

// validMountOption lets a comma stand only between double quotes, where SELinux contexts have it.
func validMountOption(o string) bool {
	if o == "" || lower(o[0]) < 'a' || lower(o[0]) > 'z' {
		return false
	}
	quoted := false
	for i := range len(o) {
		switch c := o[i]; {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted, c <= ' ', c > '~', c == '\\':
			return false
		}
	}
	return !quoted
}
