package keylock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestMutexes(t *testing.T) {
	var l Mutexes
	unlock, err := l.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.TryLock("a"); ok {
		t.Error("locked twice")
	}
	other, ok := l.TryLock("b")
	if !ok {
		t.Fatal("another name is locked")
	}
	other()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := l.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	unlock()
	if len(l.held) != 0 {
		t.Errorf("%d locks are kept", len(l.held))
	}
}

func TestMutexesExclude(t *testing.T) {
	var (
		l   Mutexes
		all sync.WaitGroup
		n   int
	)
	for range 50 {
		all.Go(func() {
			unlock, err := l.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			n++
		})
	}
	all.Wait()
	if n != 50 {
		t.Errorf("%d of 50", n)
	}
}

func TestShares(t *testing.T) {
	var s Shares
	one, err := s.Share(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.Share(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Alone("t"); ok {
		t.Error("alone among two")
	}
	one()
	two()
	done, ok := s.Alone("t")
	if !ok {
		t.Fatal("nobody is there, but not alone")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := s.Share(ctx, "t"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shared with one who is alone: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		release, err := s.Share(t.Context(), "t")
		if err == nil {
			release()
		}
		got <- err
	}()
	done()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestAloneFirst(t *testing.T) {
	var s Shares
	done, ok := s.Alone("t")
	if !ok {
		t.Fatal("not alone")
	}
	done()
}
