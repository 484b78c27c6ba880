package volume

import (
	"errors"
	"strings"
	"testing"
)

// hostile are strings that must never get anywhere (SCORECARD row 25).
var hostile = []string{
	"../../etc/passwd", "a/../b", "..", ".", "/", "//", "/etc", "a\nb", "a\r\nb", "a\x00b", "-x", "--login", "a,b", "a b",
	"a;b", "$(x)", "`x`", "a'b", `a"b`, "\u2028", "é", "\xff\xfe", " ", "\t", strings.Repeat("a", 10<<10), strings.Repeat("../", 4000),
}

func TestIDRoundTrip(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]ID{
		"stor1/fast/pvc-0c9a":                  {Target: "stor1", Pool: "fast", Name: "pvc-0c9a"},
		"a/b/c":                                {Target: "a", Pool: "b", Name: "c"},
		"static/lun0":                          {Target: StaticTarget, Name: "lun0"},
		"t.1/p-1/h-" + strings.Repeat("0", 60): {Target: "t.1", Pool: "p-1", Name: "h-" + strings.Repeat("0", 60)},
	} {
		got, err := ParseVolumeID(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("ParseVolumeID(%q) = %+v, %v; prints %q", s, got, err, got.String())
		}
	}
	longest := ID{Target: strings.Repeat("t", MaxTargetName), Pool: strings.Repeat("p", MaxPoolName), Name: strings.Repeat("n", maxName)}
	if s := longest.String(); len(s) > maxID {
		t.Errorf("the longest id has %d bytes", len(s))
	} else if got, err := ParseVolumeID(s); err != nil || got != longest {
		t.Errorf("the longest id: %+v, %v", got, err)
	}
}

func TestForeignIDs(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"fake-vol-id", "fake-vol-id-0f-1", "static/a/b", "a/static", "Vol_1", "a/b", "a/b/c/d", "vol:1", "t/p/Name",
		strings.Repeat("t", 32) + "/p/n", "t/" + strings.Repeat("p", 32) + "/n",
	} {
		if _, err := ParseVolumeID(s); !errors.Is(err, ErrForeign) {
			t.Errorf("ParseVolumeID(%q): %v, want ErrForeign", s, err)
		}
	}
	if _, err := ParseSnapshotID("static/lun0"); !errors.Is(err, ErrForeign) {
		t.Errorf("a snapshot of a static volume: %v, want ErrForeign", err)
	}
	if _, err := ParseNodeID("fake-node-id-1"); !errors.Is(err, ErrForeign) {
		t.Errorf("a node id of another driver: %v, want ErrForeign", err)
	}
}

func TestHostileIDs(t *testing.T) {
	t.Parallel()
	for _, h := range append(hostile, "", "t/p/", "/p/n", "t//n", "t/p/../n", "t/p/-n\n", "static/") {
		_, err := ParseVolumeID(h)
		wantRefused(t, "volume_id", h, err)
		_, err = ParseSnapshotID(h)
		wantRefused(t, "snapshot_id", h, err)
		_, err = ParseNodeID(h)
		wantRefused(t, "node_id", h, err)
		if h != "" && CheckTargetName("x", h) == nil {
			t.Errorf("target name %q is taken", h)
		}
		if CheckPoolName("x", h) == nil {
			t.Errorf("pool name %q is taken", h)
		}
	}
}

// wantRefused checks that err is a FieldError about the field, short and on one line, that is not ErrForeign.
func wantRefused(t *testing.T, field, value string, err error) {
	t.Helper()
	var f *FieldError
	switch {
	case !errors.As(err, &f):
		t.Errorf("%s %.40q: got %v, want a FieldError", field, value, err)
	case errors.Is(err, ErrForeign):
		t.Errorf("%s %.40q: is ErrForeign, want it refused", field, value)
	case !strings.HasPrefix(f.Field, field):
		t.Errorf("%s %.40q: the error is about %s", field, value, f.Field)
	case f.Allowed == "":
		t.Errorf("%s %.40q: the error does not say what is allowed", field, value)
	case len(f.Error()) > 1000 || strings.ContainsAny(f.Error(), "\n\r\x00\u2028"):
		t.Errorf("%s %.40q: unfit error text of %d bytes: %.80q", field, value, len(f.Error()), f.Error())
	}
}

func TestMapName(t *testing.T) {
	t.Parallel()
	for _, fits := range []string{"pvc-0c9a1de8-2d45", "a", "a.b-c", "snapshot-1", strings.Repeat("x", 63)} {
		if got, err := MapName(fits); err != nil || got != fits {
			t.Errorf("MapName(%q) = %q, %v", fits, got, err)
		}
	}
	seen := map[string]string{}
	for _, hashed := range []string{
		"PVC", "a b", "h-x", "-x", "x-", "../x", "é", strings.Repeat("x", 64), strings.Repeat("x", 128), "a/b", "a..b",
	} {
		got, err := MapName(hashed)
		if err != nil || !strings.HasPrefix(got, hashPrefix) || !validName(got, maxName) {
			t.Errorf("MapName(%q) = %q, %v", hashed, got, err)
		}
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q share %q", hashed, other, got)
		}
		seen[got] = hashed
		if twice, _ := MapName(got); twice == got {
			t.Errorf("%q can be chosen as a name", got)
		}
	}
	for _, refused := range []string{"", "a\nb", "a\x00b", "\u0085", strings.Repeat("x", 129), "\xff"} {
		_, err := MapName(refused)
		wantRefused(t, "name", refused, err)
	}
}

func FuzzParseVolumeID(f *testing.F) {
	for _, h := range hostile {
		f.Add(h)
	}
	f.Add("t/p/n")
	f.Add("static/n")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseVolumeID(s)
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Errorf("unfit error text: %q", err)
			}
			return
		}
		if id.String() != s || len(s) > maxID || strings.Contains(s, "..") {
			t.Errorf("%q became %+v, which prints as %q", s, id, id.String())
		}
	})
}

func FuzzMapName(f *testing.F) {
	for _, h := range hostile {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := MapName(s)
		if err == nil && !validName(name, maxName) {
			t.Errorf("MapName(%q) = %q", s, name)
		}
	})
}
