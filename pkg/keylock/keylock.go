// Package keylock has locks by name.
package keylock

import (
	"context"
	"sync"
)

// Mutexes are mutexes by name that a context can give up waiting for. The zero value is ready.
type Mutexes struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	slot  chan struct{}
	users int
}

// Lock waits for name until ctx ends, and returns what frees it.
func (l *Mutexes) Lock(ctx context.Context, name string) (unlock func(), err error) {
	k := l.enter(name)
	select {
	case k.slot <- struct{}{}:
		return func() { <-k.slot; l.leave(name, k) }, nil
	case <-ctx.Done():
		l.leave(name, k)
		return nil, ctx.Err()
	}
}

// TryLock is Lock without waiting.
func (l *Mutexes) TryLock(name string) (unlock func(), ok bool) {
	k := l.enter(name)
	select {
	case k.slot <- struct{}{}:
		return func() { <-k.slot; l.leave(name, k) }, true
	default:
		l.leave(name, k)
		return nil, false
	}
}

func (l *Mutexes) enter(name string) *keyLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*keyLock{}
	}
	k := l.held[name]
	if k == nil {
		k = &keyLock{slot: make(chan struct{}, 1)}
		l.held[name] = k
	}
	k.users++
	return k
}

func (l *Mutexes) leave(name string, k *keyLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, name)
	}
}

// Shares are read-write locks by name: many share, one is alone. The zero value is ready.
type Shares struct {
	mu    sync.Mutex
	count map[string]int // -1: somebody is alone
	freed chan struct{}
}

// Share waits while somebody is alone with name.
func (s *Shares) Share(ctx context.Context, name string) (release func(), err error) {
	for {
		s.mu.Lock()
		if s.count == nil {
			s.count, s.freed = map[string]int{}, make(chan struct{})
		}
		if s.count[name] >= 0 {
			s.count[name]++
			s.mu.Unlock()
			return func() { s.release(name) }, nil
		}
		freed := s.freed
		s.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Alone succeeds when nobody shares name or is alone with it.
func (s *Shares) Alone(name string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[name] != 0 {
		return nil, false
	}
	if s.count == nil {
		s.count, s.freed = map[string]int{}, make(chan struct{})
	}
	s.count[name] = -1
	return func() { s.release(name) }, true
}

func (s *Shares) release(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.count[name] {
	case -1:
		close(s.freed)
		s.freed = make(chan struct{})
		delete(s.count, name)
	case 1:
		delete(s.count, name)
	default:
		s.count[name]--
	}
}
