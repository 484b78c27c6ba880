package volume

import (
	"fmt"
	"strconv"
)

const (
	mib = 1 << 20
	// MaxBytes is the largest size that is even asked for; a pool's own limit is lower.
	MaxBytes = 1 << 60
)

// Size is a capacity range: at least Required and, unless 0, at most Limit bytes.
type Size struct {
	Required, Limit int64
}

// MinBytes is the least size of a volume with this file system; empty is raw block. mkfs.xfs refuses less than
// 300 MiB and mkfs.btrfs less than 109 MiB; an ext4 below 16 MiB has no room for a journal of use.
func MinBytes(fsType string) int64 {
	switch fsType {
	case "xfs":
		return 300 * mib
	case "btrfs":
		return 128 * mib
	case "ext4":
		return 16 * mib
	default:
		return mib
	}
}

// ParseSize checks a capacity range and raises it to the least size, where the limit allows. A Required of 0 stays 0:
// the size of the source, or the backend's default. Contradictions are a *FieldError; sizes that no volume can have
// are ErrOutOfRange as well.
func ParseSize(required, limit, least int64) (Size, error) {
	const field = "capacity_range"
	switch {
	case required < 0:
		return Size{}, NewFieldError(field+".required_bytes", strconv.FormatInt(required, 10), "0 or more bytes")
	case limit < 0:
		return Size{}, NewFieldError(field+".limit_bytes", strconv.FormatInt(limit, 10), "0 or more bytes")
	case limit > 0 && limit < required:
		return Size{}, NewFieldError(field+".limit_bytes", strconv.FormatInt(limit, 10),
			fmt.Sprintf("required_bytes (%d) or more", required))
	case required > MaxBytes:
		return Size{}, outOfRange(field+".required_bytes", required, least)
	case limit > 0 && limit < least:
		return Size{}, outOfRange(field+".limit_bytes", limit, least)
	}
	if required > 0 && required < least {
		required = least
	}
	return Size{Required: required, Limit: limit}, nil
}

func outOfRange(field string, value, least int64) error {
	e := NewFieldError(field, strconv.FormatInt(value, 10), fmt.Sprintf("%d to %d bytes", least, int64(MaxBytes)))
	e.Err = ErrOutOfRange
	return e
}
