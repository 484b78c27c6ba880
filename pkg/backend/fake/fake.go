// Package fake is a backend in memory that behaves as a real one does: sizes in extents, thin snapshots and clones
// that outlive their source, volumes in use, one set of LUNs per initiator. It passes the contract in backendtest.
package fake

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/portbind/portbind/pkg/backend"
)

const (
	// Extent is what sizes are multiples of.
	Extent = 4 << 20
	// DefaultBytes is the size of a volume when neither request nor source says one.
	DefaultBytes = 1 << 30
	// MaxVolumeBytes is the largest volume.
	MaxVolumeBytes = 16 << 40
	// MaxLUNs is how many LUNs an initiator can have.
	MaxLUNs = 255
)

// Backend is the fake. Its zero value is of no use: New.
type Backend struct {
	mu        sync.Mutex
	target    backend.Target
	pools     map[string]int64
	volumes   map[backend.Key]*record
	snapshots map[backend.Key]backend.Snapshot
	down      error
	// ill are the problems of pools, and of volumes, which have a name too.
	ill map[backend.Key][]backend.Problem
}

// record is a volume with its exports by initiator.
type record struct {
	volume  backend.Volume
	exports map[string]export
}

type export struct {
	lun      int
	readOnly bool
}

var _ backend.Backend = (*Backend)(nil)

// New makes a target of this name and portals with pools of the given sizes in bytes.
func New(iqn string, portals []netip.AddrPort, pools map[string]int64) *Backend {
	return &Backend{
		target:    backend.Target{IQN: iqn, Portals: portals, Pools: slices.Sorted(maps.Keys(pools))},
		pools:     maps.Clone(pools),
		volumes:   map[backend.Key]*record{},
		snapshots: map[backend.Key]backend.Snapshot{},
		ill:       map[backend.Key][]backend.Problem{},
	}
}

// SetDown makes every call fail with err, until it is nil.
func (b *Backend) SetDown(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down = err
}

// lock begins a call: the caller unlocks when there is no error.
func (b *Backend) lock(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	if b.down != nil {
		defer b.mu.Unlock()
		return nil, b.down
	}
	return b.mu.Unlock, nil
}

// Target gives the address.
func (b *Backend) Target(ctx context.Context) (backend.Target, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Target{}, err
	}
	defer unlock()
	return b.target, nil
}

// Capacity counts the sizes of volumes as if they were written full, less what would be negative.
func (b *Backend) Capacity(ctx context.Context, pool string) (backend.Capacity, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Capacity{}, err
	}
	defer unlock()
	total, ok := b.pools[pool]
	if !ok {
		return backend.Capacity{}, fmt.Errorf("pool %q: %w", pool, backend.ErrNotFound)
	}
	free := total
	for key, r := range b.volumes {
		if key.Pool == pool {
			free -= r.volume.SizeBytes
		}
	}
	return backend.Capacity{TotalBytes: total, AvailableBytes: max(free, 0), MaxVolumeBytes: MaxVolumeBytes}, nil
}

// CreateVolume as the contract has it.
func (b *Backend) CreateVolume(ctx context.Context, req backend.CreateVolume) (backend.Volume, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Volume{}, err
	}
	defer unlock()
	if err := b.checkKey(req.Key); err != nil {
		return backend.Volume{}, err
	}
	if r, ok := b.volumes[req.Key]; ok {
		return fitting(r, req)
	}
	least, err := b.sourceSize(req)
	if err != nil {
		return backend.Volume{}, err
	}
	size, err := chooseSize(req, least)
	if err != nil {
		return backend.Volume{}, err
	}
	r := &record{exports: map[string]export{}, volume: backend.Volume{
		Key: req.Key, SizeBytes: size, WWID: newWWID(), SourceSnapshot: req.SourceSnapshot, SourceVolume: req.SourceVolume,
		Attributes: maps.Clone(req.Attributes),
	}}
	b.volumes[req.Key] = r
	return r.view(), nil
}

// nameRule is that of the target's API (pkg/targetapi/v1, VolumeKey).
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// iqnRule is enough of an iSCSI name to refuse what is none.
var iqnRule = regexp.MustCompile(`^iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.-]+(:[a-z0-9.:-]+)?$`)

// checkKey refuses names that the target's rule does not allow, and unknown pools.
func (b *Backend) checkKey(key backend.Key) error {
	if !nameRule.MatchString(key.Name) {
		return fmt.Errorf("name %.64q: %w: 1 to 63 of a-z, 0-9, '.' and '-'", key.Name, backend.ErrInvalid)
	}
	if _, ok := b.pools[key.Pool]; !ok {
		return fmt.Errorf("pool %.64q: %w", key.Pool, backend.ErrNotFound)
	}
	return nil
}

func fitting(r *record, req backend.CreateVolume) (backend.Volume, error) {
	v := r.volume
	sizeFits := v.SizeBytes >= req.RequiredBytes && (req.LimitBytes == 0 || v.SizeBytes <= req.LimitBytes)
	if !sizeFits || !sameKey(v.SourceSnapshot, req.SourceSnapshot) || !sameKey(v.SourceVolume, req.SourceVolume) {
		return backend.Volume{}, fmt.Errorf("volume %s/%s: %w", v.Pool, v.Name, backend.ErrExists)
	}
	r.volume.Attributes = maps.Clone(req.Attributes)
	return r.view(), nil
}

func sameKey(a, b *backend.Key) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// sourceSize is the size of what the volume is made from, 0 when it is made empty.
func (b *Backend) sourceSize(req backend.CreateVolume) (int64, error) {
	source := req.SourceSnapshot
	if source == nil {
		source = req.SourceVolume
	}
	switch {
	case source == nil:
		return 0, nil
	case req.SourceSnapshot != nil && req.SourceVolume != nil:
		return 0, fmt.Errorf("two sources: %w", backend.ErrInvalid)
	case source.Pool != req.Pool:
		return 0, fmt.Errorf("a source in pool %q for a volume in pool %q: %w", source.Pool, req.Pool, backend.ErrInvalid)
	}
	if s, ok := b.snapshots[*source]; ok && req.SourceSnapshot != nil {
		return s.SizeBytes, nil
	}
	if r, ok := b.volumes[*source]; ok && req.SourceVolume != nil {
		return r.volume.SizeBytes, nil
	}
	return 0, fmt.Errorf("source %s/%s: %w", source.Pool, source.Name, backend.ErrNotFound)
}

func chooseSize(req backend.CreateVolume, source int64) (int64, error) {
	want := req.RequiredBytes
	if want == 0 {
		want = source
	}
	if want == 0 {
		want = DefaultBytes
		if req.LimitBytes > 0 {
			want = min(want, req.LimitBytes/Extent*Extent)
		}
	}
	if want < source {
		return 0, fmt.Errorf("%d bytes for a source of %d: %w", want, source, backend.ErrOutOfRange)
	}
	return roundUp(want, req.LimitBytes)
}

// roundUp gives whole extents within the limit and the largest volume.
func roundUp(want, limit int64) (int64, error) {
	if want <= 0 || want > MaxVolumeBytes {
		return 0, fmt.Errorf("%d bytes: %w: up to %d", want, backend.ErrOutOfRange, int64(MaxVolumeBytes))
	}
	size := (want + Extent - 1) / Extent * Extent
	if limit > 0 && size > limit {
		return 0, fmt.Errorf("%d bytes in whole extents are more than the limit of %d: %w", size, limit, backend.ErrOutOfRange)
	}
	return size, nil
}

// newWWID is what the kernel would print for a serial of 100 random bits.
func newWWID() string {
	var b [13]byte
	_, _ = rand.Read(b[:]) // It never fails, by its documentation.
	return "naa.6001405" + hex.EncodeToString(b[:])[:25]
}

// view is the volume as callers see it.
func (r *record) view() backend.Volume {
	v := r.volume
	v.Initiators = slices.Sorted(maps.Keys(r.exports))
	v.Attributes = maps.Clone(v.Attributes)
	return v
}

// now is a time as a real target keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
