package drain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/binding"
)

func TestStore(t *testing.T) {
	s := In(t.TempDir())
	expect(t, s)
	for _, name := range []string{"san-b", "san-a", "san-b"} {
		if err := s.Set(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "san-c.json.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "san-a", "san-b")
	for range 2 {
		if err := s.Clear("san-b"); err != nil {
			t.Error(err)
		}
	}
	expect(t, In(filepath.Dir(s.dir)), "san-a")
	for _, name := range []string{"", "../x", "San"} {
		if err := errors.Join(s.Set(name), s.Clear(name)); !errors.Is(err, binding.ErrConfig) {
			t.Errorf("%q: %v", name, err)
		}
	}
	marked, err := s.Mark(func() (binding.Resolution, error) { return binding.Resolution{}, nil })()
	if err != nil || !marked.IsDrained("san-a") || marked.IsDrained("san-b") {
		t.Errorf("%v, %v", marked, err)
	}
}

func expect(t *testing.T, s Store, want ...string) {
	t.Helper()
	got, err := s.Names()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestWatch(t *testing.T) {
	s := In(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	changes, ended := make(chan struct{}, 16), make(chan error, 1)
	go func() { ended <- s.Watch(ctx, func() { changes <- struct{}{} }) }()
	await := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(10 * time.Second):
			t.Fatal("not told of " + what)
		}
	}
	await("its beginning")
	if err := s.Set("san-a"); err != nil {
		t.Fatal(err)
	}
	await("a new one")
	for len(changes) > 0 {
		<-changes
	}
	if err := s.Clear("san-a"); err != nil {
		t.Fatal(err)
	}
	await("one that went")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
