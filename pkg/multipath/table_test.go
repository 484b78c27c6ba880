package multipath

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

var fourPaths = Table{
	Sectors: 524288, Queue: true, Selector: defaultSelector,
	Groups: [][]Devno{{{8, 0}, {8, 16}}, {{8, 32}, {65, 48}}},
}

func TestTableParams(t *testing.T) {
	want := "1 queue_if_no_path 0 2 1 service-time 0 2 1 8:0 1 8:16 1 service-time 0 2 1 8:32 1 65:48 1"
	if got := fourPaths.params(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got, err := parseTable(524288, fourPaths.params())
	if diff := cmp.Diff(fourPaths, got); err != nil || diff != "" {
		t.Errorf("read back: %v %s", err, diff)
	}
}

func TestTableSelector(t *testing.T) {
	for selector, want := range map[string]string{
		"": "service-time", "round-robin": "round-robin", "queue-length": "queue-length", "io-affinity": "service-time",
	} {
		got := Table{Selector: selector, Groups: [][]Devno{{{8, 0}}, {{8, 16}}}}.params()
		if want := "0 0 2 1 " + want + " 0 1 1 8:0 1 " + want + " 0 1 1 8:16 1"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The parameters are as Linux 6.1 gave them.
func TestParseTable(t *testing.T) {
	got, err := parseTable(8, "2 queue_if_no_path retain_attached_hw_handler 1 alua 1 1 service-time 0 4 2 8:16 1 1 8:32 1 1 8:48 1 1 8:0 1 1 ")
	want := Table{Sectors: 8, Queue: true, Handler: "alua", Selector: defaultSelector, Groups: [][]Devno{{{8, 16}, {8, 32}, {8, 48}, {8, 0}}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	empty, err := parseTable(8, "0 0 0 0 ")
	if err != nil || len(empty.Paths()) != 0 {
		t.Errorf("no paths: %+v, %v", empty, err)
	}
	for _, bad := range []string{"", "1", "0 0 1 1 service-time 0 1 1 8:x 1", "9 a", "0 0 1 1 service-time 0 99 1 8:0 1", "-1 0 0 0"} {
		if _, err := parseTable(8, bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseStatus(t *testing.T) {
	got, err := parseStatus("2 0 0 0 2 1 A 0 2 2 8:16 A 0 0 1 8:32 F 3 0 1 E 0 1 2 8:48 A 0 0 1 ")
	want := []PathState{
		{Devno: Devno{8, 16}, Active: true, Group: 0, Enabled: "A"},
		{Devno: Devno{8, 32}, Active: false, Group: 0, Enabled: "A"},
		{Devno: Devno{8, 48}, Active: true, Group: 1, Enabled: "E"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestCovers(t *testing.T) {
	if !fourPaths.Covers([]Devno{{8, 32}, {8, 0}}) || fourPaths.Covers([]Devno{{8, 0}, {8, 64}}) || !fourPaths.Covers(nil) {
		t.Error("Covers is wrong")
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add(fourPaths.params())
	f.Add("2 queue_if_no_path x 1 alua 1 1 service-time 0 4 2 8:16 1 1")
	f.Fuzz(func(t *testing.T, params string) {
		table, err := parseTable(8, params)
		if err != nil {
			return
		}
		again, err := parseTable(8, table.params())
		if diff := cmp.Diff(table, again); err != nil || diff != "" {
			t.Errorf("written and read again: %v %s", err, diff)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add("2 0 0 0 2 1 A 0 2 2 8:16 A 0 0 1 8:32 F 3 0 1 E 0 1 2 8:48 A 0 0 1 ")
	f.Fuzz(func(_ *testing.T, params string) { _, _ = parseStatus(params) })
}
