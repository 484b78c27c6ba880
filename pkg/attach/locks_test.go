package attach

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestLocks(t *testing.T) {
	var l locks
	unlock, err := l.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := l.try("a"); ok {
		t.Error("locked twice")
	}
	other, ok := l.try("b")
	if !ok {
		t.Fatal("another name is locked")
	}
	other()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := l.lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	unlock()
	if len(l.held) != 0 {
		t.Errorf("%d locks are kept", len(l.held))
	}
}

func TestLocksExclude(t *testing.T) {
	var (
		l   locks
		all sync.WaitGroup
		n   int
	)
	for range 50 {
		all.Go(func() {
			unlock, err := l.lock(t.Context(), "a")
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
	var s shares
	one, err := s.share(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.share(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.alone("t"); ok {
		t.Error("alone among two")
	}
	one()
	two()
	done, ok := s.alone("t")
	if !ok {
		t.Fatal("nobody is there, but not alone")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := s.share(ctx, "t"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shared with one who is alone: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		release, err := s.share(t.Context(), "t")
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
	var s shares
	done, ok := s.alone("t")
	if !ok {
		t.Fatal("not alone")
	}
	done()
}
