package multipath

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	id1 = "36001405aaaaaaaaaaaaaaaaaaaaaaaaa"
	id2 = "36001405bbbbbbbbbbbbbbbbbbbbbbbbb"
)

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWWIDs(t *testing.T) {
	dir := t.TempDir()
	w := WWIDs{File: filepath.Join(dir, "multipath", "wwids"), FailedDirs: []string{dir}}
	ctx := t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(w.Drop(ctx, id1))
	do(os.WriteFile(filepath.Join(dir, id1), nil, 0o600))
	do(w.Add(ctx, id1))
	do(w.Add(ctx, id1))
	do(w.Add(ctx, id2))
	want := wwidsHeader + "/" + id1 + "/\n/" + id2 + "/\n"
	if got := read(t, w.File); got != want {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, id1)); err == nil {
		t.Error("the note of a failed map is there still")
	}
	do(w.Drop(ctx, id1))
	do(w.Drop(ctx, id1))
	if got := read(t, w.File); got != strings.Replace(want, "/"+id1, "#"+id1, 1) {
		t.Errorf("dropped: %q", got)
	}
	do(w.Add(ctx, id1))
	if got := read(t, w.File); got != want {
		t.Errorf("added again, the place is not used: %q", got)
	}
	if err := w.Add(ctx, "../x"); err == nil {
		t.Error("a path was taken for a WWID")
	}
}

func TestWWIDsAtOnce(t *testing.T) {
	w := WWIDs{File: filepath.Join(t.TempDir(), "wwids")}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := w.Add(t.Context(), id1[:31]+string(rune('a'+i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := strings.Count(read(t, w.File), "\n/36001405"); n != 20 {
		t.Errorf("%d of 20 entries", n)
	}
}

func TestWriteConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "conf.d", "portbind.conf")
	p := DefaultPolicy()
	for _, want := range []bool{true, false} {
		if changed, err := p.WriteConfig(file); err != nil || changed != want {
			t.Errorf("changed %v, want %v, error %v", changed, want, err)
		}
	}
	text := read(t, file)
	for _, line := range []string{`vendor "^PORTBIND$"`, `product "^thin-volume$"`, "no_path_retry queue", "fast_io_fail_tmo 1"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s is not in\n%s", line, text)
		}
	}
	if names, _ := filepath.Glob(filepath.Dir(file) + "/.*"); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
	p.NoPathRetry = time.Minute
	if changed, err := p.WriteConfig(file); err != nil || !changed || !strings.Contains(read(t, file), "no_path_retry 12\n") {
		t.Errorf("one minute: %v %v", changed, err)
	}
}

func TestLinks(t *testing.T) {
	dev := t.TempDir()
	d := NewDM(dev)
	if err := os.Mkdir(filepath.Join(dev, "mapper"), 0o700); err != nil {
		t.Fatal(err)
	}
	five, six := Info{Name: id1, Devno: Devno{254, 5}}, Info{Name: id1, Devno: Devno{254, 6}}
	for _, info := range []Info{five, six} {
		if err := d.EnsureLink(info); err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(d.Path(id1)); err != nil || to != relNode(info.Devno) {
			t.Errorf("leads to %q, %v", to, err)
		}
	}
	if err := d.DropLink(five); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(d.Path(id1)); err != nil {
		t.Error("the link of another map was dropped")
	}
	if err := d.DropLink(six); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(d.Path(id1)); err == nil {
		t.Error("the link is there still")
	}
}

func TestID(t *testing.T) {
	for wwid, want := range map[string]string{
		"naa." + id1[1:]:         id1,
		"naa.5000c500a1b2c3d4":   "35000c500a1b2c3d4",
		"naa.6001":               "",
		"eui.0025385b71b07e2f":   "",
		"t10.LIO-ORG FILEIO abc": "",
		"":                       "",
	} {
		got, ok := ID(wwid)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", wwid, got, want)
		}
		if back, _ := WWID(got); ok && back != wwid {
			t.Errorf("%q came back as %q", wwid, back)
		}
	}
}
