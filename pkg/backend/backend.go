// Package backend says what a target must offer to the controller plugin. Implementations: lio (portbind-targetd),
// static (LUNs that exist already); backendtest holds the contract that all must meet.
package backend

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// The sentinel errors that implementations wrap (errors.Is); the message around them says what and what to do.
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists and does not fit")
	ErrInvalid     = errors.New("invalid")
	ErrOutOfRange  = errors.New("out of range")
	ErrExhausted   = errors.New("exhausted")
	ErrInUse       = errors.New("in use")
	ErrBusy        = errors.New("busy")
	ErrUnsupported = errors.New("not supported")
	ErrUnavailable = errors.New("unavailable")
	// ErrPageToken is a page token that this backend did not give, or that is no longer valid.
	ErrPageToken = errors.New("invalid page token")
)

// Key names a volume or a snapshot within one target.
type Key struct {
	Pool string
	Name string
}

// Volume is a volume as the target has it.
type Volume struct {
	Key
	// SizeBytes is its virtual size.
	SizeBytes int64
	// WWID is what the kernel prints in /sys/block/sdX/device/wwid of each path: "naa.6001405...".
	WWID string
	// SourceSnapshot and SourceVolume say what it was made from; at most one is set.
	SourceSnapshot *Key
	SourceVolume   *Key
	// Initiators are the IQNs that it is published to, sorted.
	Initiators []string
	// Attributes are kept with the volume for the caller and mean nothing to the target: keys of letters and digits, values
	// of letters, digits, '.', '_' and '-'.
	Attributes map[string]string
}

// Snapshot is a snapshot as the target has it.
type Snapshot struct {
	Key
	// Source is the volume it was taken of, which may be gone.
	Source Key
	// SizeBytes is the least size of a volume made from it.
	SizeBytes int64
	Created   time.Time
}

// CreateVolume is the request of Backend.CreateVolume.
type CreateVolume struct {
	Key
	// RequiredBytes is the least size, 0 the source's or the backend's default; LimitBytes the largest, 0 for none.
	RequiredBytes, LimitBytes int64
	// At most one of the two is set.
	SourceSnapshot *Key
	SourceVolume   *Key
	// Attributes are the volume's, also of one that exists already; not those of its source.
	Attributes map[string]string
}

// CHAP holds what initiator and target prove to each other. Secrets: never logged, never in an error.
type CHAP struct {
	User, Secret string
	// TargetUser and TargetSecret are for mutual CHAP, both or neither.
	TargetUser, TargetSecret string
}

// Publish is the request of Backend.Publish.
type Publish struct {
	Key
	// Initiator is the node's IQN.
	Initiator string
	// CHAP is nil when the initiator need not authenticate.
	CHAP     *CHAP
	ReadOnly bool
	// Shared allows other initiators beside this one.
	Shared bool
}

// Export is where an initiator finds a published volume.
type Export struct {
	LUN int
	// Attributes are the volume's.
	Attributes map[string]string
}

// Capacity is what a pool has.
type Capacity struct {
	// AvailableBytes are not yet allocated; MaxVolumeBytes is the largest size of one volume,
	// 0 when the pool is too full to take any.
	TotalBytes, AvailableBytes, MaxVolumeBytes int64
	// MetadataUsed is the fraction, 0 to 1, in use of what the pool has for its own records; 0 where there is no such limit.
	MetadataUsed float64
}

// Target is where the volumes of a backend are reached.
type Target struct {
	IQN     string
	Portals []netip.AddrPort
	Pools   []string
}

// Backend is one target host or array. Every method is idempotent: repeated after a crash at any point it ends in
// the same state. Methods return errors that wrap one of the sentinels above, or a context's error.
type Backend interface {
	// Target gives the address of the target and its pools.
	Target(ctx context.Context) (Target, error)
	// Capacity of one pool. ErrNotFound when there is no such pool.
	Capacity(ctx context.Context, pool string) (Capacity, error)

	// CreateVolume makes a volume or returns the one of that name when it fits the request; ErrExists when it
	// does not, ErrOutOfRange for sizes (less than the source's among them), ErrNotFound for the source or pool,
	// ErrInvalid for a source in another pool, ErrExhausted for a full pool.
	CreateVolume(ctx context.Context, req CreateVolume) (Volume, error)
	// DeleteVolume succeeds when there is none. ErrInUse when it is published.
	DeleteVolume(ctx context.Context, key Key) error
	// Volume looks one up: ErrNotFound.
	Volume(ctx context.Context, key Key) (Volume, error)
	// ListVolumes gives at most limit volumes (0: all), sorted by pool and name, from token on (empty: the first),
	// and the token of the next page, empty at the end. ErrPageToken.
	ListVolumes(ctx context.Context, limit int, token string) (volumes []Volume, next string, err error)
	// ExpandVolume grows to at least required and at most limit (0: no limit) bytes; it never shrinks. ErrOutOfRange
	// when that cannot be.
	ExpandVolume(ctx context.Context, key Key, required, limit int64) (Volume, error)

	// SetAttributes replaces those of a volume: ErrNotFound, ErrInvalid.
	SetAttributes(ctx context.Context, key Key, attributes map[string]string) (Volume, error)

	// CreateSnapshot takes one, instantly; the snapshot lives on when its source is deleted. ErrExists when the
	// name is that of a snapshot of another volume, ErrNotFound without the source.
	CreateSnapshot(ctx context.Context, key Key, source Key) (Snapshot, error)
	DeleteSnapshot(ctx context.Context, key Key) error
	Snapshot(ctx context.Context, key Key) (Snapshot, error)
	// ListSnapshots is as ListVolumes; source, when not nil, restricts it to the snapshots of one volume.
	ListSnapshots(ctx context.Context, source *Key, limit int, token string) (snapshots []Snapshot, next string, err error)

	// Publish makes the volume a LUN of one initiator; again: the same LUN. ErrInUse when it is published to
	// others and not Shared; ErrExists when it is published to this initiator with another ReadOnly; ErrExhausted
	// when the initiator can have no more LUNs.
	Publish(ctx context.Context, req Publish) (Export, error)
	// Unpublish fences: after it returned nil nothing of that initiator (all when empty) can land on the volume.
	Unpublish(ctx context.Context, key Key, initiator string) error

	// Health looks at one volume and changes nothing: ErrNotFound.
	Health(ctx context.Context, key Key) (Health, error)
	// ListHealth gives the volumes that have problems; limit and token as in ListVolumes.
	ListHealth(ctx context.Context, limit int, token string) (ill []Health, next string, err error)
}
