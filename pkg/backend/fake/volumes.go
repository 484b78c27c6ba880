package fake

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/portbind/portbind/pkg/backend"
)

// find looks a volume up; the lock is held.
func (b *Backend) find(key backend.Key) (*record, error) {
	r, ok := b.volumes[key]
	if !ok {
		return nil, fmt.Errorf("volume %.64q in pool %.64q: %w", key.Name, key.Pool, backend.ErrNotFound)
	}
	return r, nil
}

// DeleteVolume as the contract has it.
func (b *Backend) DeleteVolume(ctx context.Context, key backend.Key) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	r, ok := b.volumes[key]
	if !ok {
		return nil
	}
	if len(r.exports) > 0 {
		return fmt.Errorf("volume %s/%s is published to %s: %w",
			key.Pool, key.Name, strings.Join(r.view().Initiators, ", "), backend.ErrInUse)
	}
	delete(b.volumes, key)
	return nil
}

// Volume as the contract has it.
func (b *Backend) Volume(ctx context.Context, key backend.Key) (backend.Volume, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Volume{}, err
	}
	defer unlock()
	r, err := b.find(key)
	if err != nil {
		return backend.Volume{}, err
	}
	return r.view(), nil
}

// ListVolumes as the contract has it.
func (b *Backend) ListVolumes(ctx context.Context, limit int, token string) ([]backend.Volume, string, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	keys, next, err := page(slices.Collect(maps.Keys(b.volumes)), limit, token)
	if err != nil {
		return nil, "", err
	}
	out := make([]backend.Volume, len(keys))
	for i, k := range keys {
		out[i] = b.volumes[k].view()
	}
	return out, next, nil
}

// page cuts one page out of keys. A token is the last key of the page before.
func page(keys []backend.Key, limit int, token string) (cut []backend.Key, next string, err error) {
	slices.SortFunc(keys, compare)
	if token != "" {
		after, err := parseToken(token)
		if err != nil {
			return nil, "", err
		}
		keys = slices.DeleteFunc(keys, func(k backend.Key) bool { return compare(k, after) <= 0 })
	}
	if limit > 0 && len(keys) > limit {
		keys = keys[:limit]
		next = makeToken(keys[limit-1])
	}
	return keys, next, nil
}

func compare(a, b backend.Key) int {
	return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Name, b.Name))
}

func makeToken(k backend.Key) string {
	return base64.RawURLEncoding.EncodeToString([]byte(k.Pool + "/" + k.Name))
}

func parseToken(token string) (backend.Key, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	pool, name, ok := strings.Cut(string(raw), "/")
	if err != nil || !ok {
		return backend.Key{}, backend.ErrPageToken
	}
	return backend.Key{Pool: pool, Name: name}, nil
}

// ExpandVolume as the contract has it.
func (b *Backend) ExpandVolume(ctx context.Context, key backend.Key, required, limit int64) (backend.Volume, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Volume{}, err
	}
	defer unlock()
	r, err := b.find(key)
	if err != nil {
		return backend.Volume{}, err
	}
	if limit > 0 && r.volume.SizeBytes > limit {
		return backend.Volume{}, fmt.Errorf("it has %d bytes, the limit is %d: %w", r.volume.SizeBytes, limit, backend.ErrOutOfRange)
	}
	if required > r.volume.SizeBytes {
		size, err := roundUp(required, limit)
		if err != nil {
			return backend.Volume{}, err
		}
		r.volume.SizeBytes = size
	}
	return r.view(), nil
}

// attributeRule is that of the target's API.
var attributeRule = regexp.MustCompile(`^[A-Za-z0-9]{1,63}=[A-Za-z0-9._-]{1,63}$`)

// SetAttributes as the contract has it.
func (b *Backend) SetAttributes(ctx context.Context, key backend.Key, attributes map[string]string) (backend.Volume, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Volume{}, err
	}
	defer unlock()
	r, err := b.find(key)
	if err != nil {
		return backend.Volume{}, err
	}
	for k, v := range attributes {
		if !attributeRule.MatchString(k + "=" + v) {
			return backend.Volume{}, fmt.Errorf("attribute %.64q: %w", k, backend.ErrInvalid)
		}
	}
	r.volume.Attributes = maps.Clone(attributes)
	return r.view(), nil
}

// Publish as the contract has it.
func (b *Backend) Publish(ctx context.Context, req backend.Publish) (backend.Export, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Export{}, err
	}
	defer unlock()
	if !iqnRule.MatchString(req.Initiator) {
		return backend.Export{}, fmt.Errorf("initiator %.64q: %w: an iSCSI name", req.Initiator, backend.ErrInvalid)
	}
	r, err := b.find(req.Key)
	if err != nil {
		return backend.Export{}, err
	}
	if e, ok := r.exports[req.Initiator]; ok {
		if e.readOnly != req.ReadOnly {
			return backend.Export{}, fmt.Errorf("published to %s with read-only %v: %w", req.Initiator, e.readOnly, backend.ErrExists)
		}
		return backend.Export{LUN: e.lun, Attributes: r.view().Attributes}, nil
	}
	if len(r.exports) > 0 && !req.Shared {
		return backend.Export{}, fmt.Errorf("published to %s: %w", strings.Join(r.view().Initiators, ", "), backend.ErrInUse)
	}
	lun, err := b.freeLUN(req.Initiator)
	if err != nil {
		return backend.Export{}, err
	}
	r.exports[req.Initiator] = export{lun: lun, readOnly: req.ReadOnly}
	return backend.Export{LUN: lun, Attributes: r.view().Attributes}, nil
}

// freeLUN is the least number that this initiator does not use.
func (b *Backend) freeLUN(initiator string) (int, error) {
	used := map[int]bool{}
	for _, r := range b.volumes {
		if e, ok := r.exports[initiator]; ok {
			used[e.lun] = true
		}
	}
	for lun := range MaxLUNs {
		if !used[lun] {
			return lun, nil
		}
	}
	return 0, fmt.Errorf("%s has %d LUNs: %w", initiator, MaxLUNs, backend.ErrExhausted)
}

// Unpublish as the contract has it.
func (b *Backend) Unpublish(ctx context.Context, key backend.Key, initiator string) error {
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	r, ok := b.volumes[key]
	switch {
	case !ok:
	case initiator == "":
		clear(r.exports)
	default:
		delete(r.exports, initiator)
	}
	return nil
}
