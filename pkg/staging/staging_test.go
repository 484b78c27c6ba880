package staging

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func example(id string) *Record {
	return &Record{
		VolumeID: id, StagingPath: "/staging", BootID: "b", Staged: true,
		Usage: Usage{AccessMode: "SINGLE_NODE_WRITER", FSType: "ext4", MountOptions: []string{"noatime"}},
		Attachment: Attachment{
			Target: "iqn.2026-11.io.example:t", Portals: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:3260")},
			LUN: 3, WWID: "naa.6001405", Interfaces: []string{"san-a"}, Pairing: "auto", MinPaths: 2, Initiator: "iqn.i",
		},
		Published: map[string]Publication{"/t": {ReadOnly: true}},
	}
}

func open(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func TestReadWhileOpen(t *testing.T) {
	s, dir := open(t)
	if err := s.Put(example("v1")); err != nil {
		t.Fatal(err)
	}
	records, err := Read(dir)
	if err != nil || len(records) != 1 || records[0].VolumeID != "v1" {
		t.Errorf("got %v, %v", records, err)
	}
	if _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestOpenOnce(t *testing.T) {
	s, dir := open(t)
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	s, dir := open(t)
	want := example("t/p/a")
	if err := s.Put(want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Record("t/p/a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	files, err := filepath.Glob(filepath.Join(dir, recordsDir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for range 2 {
		if err := s.Delete("t/p/a"); err != nil {
			t.Error(err)
		}
	}
	if got, err := s.Record("t/p/a"); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// Hostile and long ids become names within the directory, and no two ids share one.
func TestFile(t *testing.T) {
	s, dir := open(t)
	ids := []string{"../../etc/passwd", "a/b", "a_b", strings.Repeat("x", 5000), "", "\x00\n"}
	seen := map[string]bool{}
	for _, id := range ids {
		path := s.file(recordsDir, id)
		if filepath.Dir(path) != filepath.Join(dir, recordsDir) || len(filepath.Base(path)) > 200 || seen[path] {
			t.Errorf("%q: %q", id, path)
		}
		seen[path] = true
	}
}

func TestRecordsSkipsWhatIsBroken(t *testing.T) {
	s, dir := open(t)
	for _, id := range []string{"t/p/a", "t/p/b"} {
		if err := s.Put(example(id)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"c.json": "{", "d.json": `{"version":99}`, "e.json.tmp": "half"} {
		if err := os.WriteFile(filepath.Join(dir, recordsDir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Records()
	if len(all) != 2 || !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("%d records, %v", len(all), err)
	}
}

func TestNote(t *testing.T) {
	s, dir := open(t)
	n, err := s.Note("static/a")
	if err != nil || n.VolumeID != "static/a" || n.WWID != "" {
		t.Fatalf("%+v, %v", n, err)
	}
	n.WWID, n.Formatting = "naa.6", &Formatting{WWID: "naa.6", FSType: "xfs", UUID: "00"}
	if err := s.PutNote(n); err != nil {
		t.Fatal(err)
	}
	got, err := s.Note("static/a")
	if diff := cmp.Diff(n, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := s.PutNote(Note{VolumeID: "static/a"}); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, notesDir, "*")); len(files) != 0 {
		t.Errorf("left: %v, %v", files, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"data":{"volumeID":"a"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := os.WriteFile(s.file(recordsDir, "a"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Record("a"); err == nil && r != nil && r.VolumeID != "a" {
			t.Errorf("%+v", r)
		}
	})
}
