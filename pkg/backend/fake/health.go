package fake

import (
	"context"
	"maps"
	"slices"

	"github.com/portbind/portbind/pkg/backend"
)

// SetProblems makes a volume ill, or, when key has no name, all of a pool; none heal it.
func (b *Backend) SetProblems(key backend.Key, problems ...backend.Problem) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ill[key] = problems
}

// Health as the contract has it.
func (b *Backend) Health(ctx context.Context, key backend.Key) (backend.Health, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return backend.Health{}, err
	}
	defer unlock()
	if _, err := b.find(key); err != nil {
		return backend.Health{}, err
	}
	return backend.Health{Key: key, Problems: b.problems(key)}, nil
}

// problems are those of the pool and of the volume itself.
func (b *Backend) problems(key backend.Key) []backend.Problem {
	return slices.Concat(b.ill[backend.Key{Pool: key.Pool}], b.ill[key])
}

// ListHealth as the contract has it.
func (b *Backend) ListHealth(ctx context.Context, limit int, token string) ([]backend.Health, string, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	keys := slices.DeleteFunc(slices.Collect(maps.Keys(b.volumes)), func(k backend.Key) bool { return len(b.problems(k)) == 0 })
	keys, next, err := page(keys, limit, token)
	if err != nil {
		return nil, "", err
	}
	out := make([]backend.Health, len(keys))
	for i, k := range keys {
		out[i] = backend.Health{Key: k, Problems: b.problems(k)}
	}
	return out, next, nil
}
