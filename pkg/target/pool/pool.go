// Package pool says what storage must offer to the target host: volumes, snapshots and clones of a pool.
// Implementation: lvmthin (LVM thin pools).
package pool

import (
	"context"
	"errors"
	"time"
)

// The sentinel errors that drivers wrap (errors.Is); the message around them says what and what to do.
var (
	ErrNotFound   = errors.New("not found")
	ErrExists     = errors.New("already exists and does not fit")
	ErrInvalid    = errors.New("invalid")
	ErrOutOfRange = errors.New("out of range")
	ErrExhausted  = errors.New("exhausted")
	ErrInUse      = errors.New("in use")
)

// DefaultVolumeBytes is the size of an empty volume for which none was asked.
const DefaultVolumeBytes = 1 << 30

// SourceKind says what a volume was made from.
type SourceKind string

// The kinds of source.
const (
	Empty        SourceKind = ""
	FromVolume   SourceKind = "volume"
	FromSnapshot SourceKind = "snapshot"
)

// Source is what a volume was made from; its zero value: nothing, the volume began empty.
type Source struct {
	Kind SourceKind
	Name string
}

// Volume is a volume of a pool.
type Volume struct {
	Name string
	// Size is the virtual size in bytes.
	Size int64
	// Serial is 25 lower-case hexadecimal digits, unique on this host.
	Serial  string
	Source  Source
	Created time.Time
	// Attributes are kept for the client and mean nothing here: keys of letters and digits, values without commas.
	Attributes map[string]string
}

// Snapshot is a snapshot of a pool.
type Snapshot struct {
	Name string
	// Source is the name of the volume that it was taken of, which may be gone.
	Source string
	// Size is the source's when it was taken, bytes.
	Size    int64
	Created time.Time
}

// Create is the request of Driver.CreateVolume.
type Create struct {
	Name string
	// Required is the least size in bytes, 0 the source's or DefaultVolumeBytes; Limit the largest, 0 for none.
	Required, Limit int64
	Source          Source
	// Serial is the new volume's; one that exists already keeps its own.
	Serial string
	// Attributes are the volume's, also of one that exists already.
	Attributes map[string]string
}

// Usage is how full a pool is.
type Usage struct {
	// Total and Free are bytes of data space; Provisioned is the sum of the virtual sizes of all volumes.
	Total, Free, Provisioned int64
	// MetadataUsed and VGMetadataUsed are fractions, 0 to 1.
	MetadataUsed, VGMetadataUsed float64
	// MaxVolume is the largest virtual size of one volume in bytes; 0 when the pool is too full to take any.
	MaxVolume int64
}

// Driver is one pool. Every method is idempotent: repeated after a crash at any point it ends in the same state.
// Methods return errors that wrap one of the sentinels above, a context's, or a program's.
type Driver interface {
	// Recover finishes what a crash left half-way and makes the pool ready. Called once, before all others.
	Recover(ctx context.Context) error
	// Volumes lists all finished volumes, sorted by name.
	Volumes(ctx context.Context) ([]Volume, error)
	// Snapshots lists all snapshots, sorted by name.
	Snapshots(ctx context.Context) ([]Snapshot, error)
	// Usage may be a second old.
	Usage(ctx context.Context) (Usage, error)
	// Problems are the pool's own, which all of its volumes share: none when it is well. They may be a second old.
	Problems(ctx context.Context) ([]Problem, error)

	// CreateVolume makes a volume or returns the one of that name when it fits: ErrExists when it does not,
	// ErrOutOfRange for sizes, ErrNotFound for the source, ErrExhausted for a full pool.
	CreateVolume(ctx context.Context, req Create) (Volume, error)
	// DeleteVolume succeeds when there is none. ErrInUse while its device is open.
	DeleteVolume(ctx context.Context, name string) error
	// ExpandVolume grows to at least required and at most limit (0: no limit) bytes; it never shrinks.
	ExpandVolume(ctx context.Context, name string, required, limit int64) (Volume, error)
	// SetAttributes replaces the volume's.
	SetAttributes(ctx context.Context, name string, attributes map[string]string) (Volume, error)

	// CreateSnapshot takes one that lives on when its source is deleted.
	CreateSnapshot(ctx context.Context, name, source string) (Snapshot, error)
	DeleteSnapshot(ctx context.Context, name string) error

	// Activate makes the block devices of volumes, in one go. ErrNotFound when one of them does not exist; the
	// others may be active then.
	Activate(ctx context.Context, names ...string) error
	// Device is the path of a volume's block device while it is active.
	Device(name string) string
	// Active says whether the block device is there.
	Active(name string) (bool, error)
	// Deactivate removes the block device. Without one, or without such a volume, it does nothing.
	Deactivate(ctx context.Context, name string) error
}
