package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func load(t *testing.T, s *Store) Records {
	t.Helper()
	r, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

var chap = CHAP{User: "alice", Secret: "secret-of-alice"}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	a := Export{Pool: "p", Volume: "v", Initiator: "iqn.a", LUN: 3, TPGLUN: 7, ReadOnly: true}
	b := Export{Pool: "p", Volume: "v", Initiator: "iqn.b"}
	c := Export{Pool: "p", Volume: "w", Initiator: "iqn.a", Removing: true}
	ok(t, s.SetIQN("iqn.t"), s.Put(c, &chap), s.Put(b, nil), s.Put(a, &chap), s.Close())

	s = open(t, dir)
	want := Records{IQN: "iqn.t", Exports: []Export{a, b, c}, CHAP: map[string]CHAP{"iqn.a": chap}}
	if diff := cmp.Diff(want, load(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Credentials go with the last export, and not before.
	ok(t, s.Remove(a))
	if got := load(t, s); len(got.CHAP) != 1 || len(got.Exports) != 2 {
		t.Errorf("after the first: %+v", got.Exports)
	}
	ok(t, s.Remove(c), s.Remove(c), s.Remove(b))
	if got := load(t, s); len(got.CHAP) != 0 || len(got.Exports) != 0 {
		t.Errorf("in the end: %+v", got.Exports)
	}
	ok(t, s.Put(a, &chap), s.Put(a, nil))
	if got := load(t, s); len(got.CHAP) != 0 {
		t.Error("credentials stay that were taken back")
	}
	ok(t, s.Close())
}

// TestSuffixOfAnotherName: one initiator's name can be the end of another's.
func TestSuffixOfAnotherName(t *testing.T) {
	s := open(t, t.TempDir())
	long, short := Export{Pool: "p", Volume: "v", Initiator: "iqn.x:iqn.a"}, Export{Pool: "p", Volume: "v", Initiator: "iqn.a"}
	ok(t, s.Put(long, nil), s.Put(short, &chap), s.Remove(short))
	if got := load(t, s); len(got.CHAP) != 0 {
		t.Error("credentials stay")
	}
	ok(t, s.Close())
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := open(t, dir)
	ok(t, s.Close(), os.Chmod(filepath.Join(dir, fileName), 0o644))
	s = open(t, dir)
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, filepath.Join(dir, fileName): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	ok(t, s.Close())
}

func TestDamagedCredentialsDoNotShow(t *testing.T) {
	s := open(t, t.TempDir())
	ok(t, s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(initiatorsBucket).Put([]byte("iqn.a"), []byte(`{"secret":"secret-of-alice",}`))
	}))
	if _, err := s.Load(); err == nil || strings.Contains(err.Error(), "secret-of-alice") {
		t.Errorf("got %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", chap, chap, chap, Records{CHAP: map[string]CHAP{"a": chap}}.CHAP); strings.Contains(text, "secret-of") {
		t.Errorf("formatted: %s", text)
	}
	ok(t, s.Close())
}

func TestNewerVersion(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ok(t, s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("2")) }), s.Close())
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("got %v", err)
	}
}
