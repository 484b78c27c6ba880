package multipath

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// maps-0.9.4.json is multipathd's answer to "show maps json", from the lab (scenario TestLife leaves it as an artefact).
func TestParseMaps(t *testing.T) {
	data, err := os.ReadFile("testdata/maps-0.9.4.json")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := ParseMaps(string(data))
	if err != nil || len(maps) != 1 {
		t.Fatalf("%d maps, %v", len(maps), err)
	}
	m := maps[0]
	if m.ID != "360014050000030201000000004000000" || m.Name != m.ID || m.Sysfs != "dm-0" || m.Queueing != "12 chk" {
		t.Errorf("%+v", m)
	}
	var disks []string
	for _, p := range m.Paths() {
		disks = append(disks, p.Disk+" "+p.Devno+" "+p.DMState+" "+p.Checker)
	}
	want := []string{"sdb 8:16 active ready", "sda 8:0 active ready", "sdc 8:32 active ready", "sdd 8:48 active ready"}
	if diff := cmp.Diff(want, disks); diff != "" {
		t.Error(diff)
	}
}

func TestParseMap(t *testing.T) {
	m, err := ParseMap(`{"major_version": 0, "minor_version": 1, "map":{"name" : "mpatha", "uuid" : "36001", "path_groups": []}}`)
	if err != nil || m.Name != "mpatha" || m.ID != "36001" || len(m.Paths()) != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := ParseMap(`{}`); !errors.Is(err, ErrNotFound) {
		t.Errorf("no map: %v", err)
	}
	if _, err := ParseMap(`{"map":`); !errors.Is(err, ErrFormat) {
		t.Errorf("cut short: %v", err)
	}
}

func TestMapNotFound(t *testing.T) {
	fail := "fail\n"
	c := serve(t, func(string) *string { return &fail })
	if _, err := c.Map(t.Context(), "36001"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestParsePaths(t *testing.T) {
	got := ParsePaths("sda|3:0:0:1|36001405abc|\nsdb|2:0:0:1||\nnonsense\n|1:0:0:0|x|\n")
	want := []KnownPath{{Disk: "sda", HCTL: "3:0:0:1", ID: "36001405abc"}, {Disk: "sdb", HCTL: "2:0:0:1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseMaps(f *testing.F) {
	data, err := os.ReadFile("testdata/maps-0.9.4.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Fuzz(func(_ *testing.T, text string) {
		maps, err := ParseMaps(text)
		if err != nil {
			return
		}
		for _, m := range maps {
			m.Paths()
		}
	})
}

func FuzzParsePaths(f *testing.F) {
	f.Add("sda|3:0:0:1|36001405abc|\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range ParsePaths(text) {
			if p.Disk == "" {
				t.Error("a path without a disk")
			}
		}
	})
}
