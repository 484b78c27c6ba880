package sysfs

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMaps(t *testing.T) {
	got, err := tree(t, "up.tree").Maps()
	if err != nil {
		t.Fatal(err)
	}
	want := []Map{
		{
			Device: "dm-0", Name: "360014052000000000000000000000000", UUID: "mpath-360014052000000000000000000000000",
			Slaves: []string{"sdb", "sdd", "sdf", "sdh"}, SizeBytes: 64 << 20, Major: 254, Minor: 0,
		},
		{
			Device: "dm-1", Name: "360014051000000000000000000000000", UUID: "mpath-360014051000000000000000000000000",
			Slaves: []string{"sda", "sdc", "sde", "sdg"}, SizeBytes: 256 << 20, Major: 254, Minor: 1,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMapByUUID(t *testing.T) {
	f := tree(t, "up.tree")
	m, err := f.MapByUUID("mpath-360014051000000000000000000000000")
	if err != nil || m.Device != "dm-1" {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := f.MapByUUID("mpath-3"); !errors.Is(err, ErrGone) {
		t.Errorf("unknown: got %v", err)
	}
	remove(t, f, "devices/virtual/block/dm-1/size")
	if _, err := f.MapByUUID("mpath-360014051000000000000000000000000"); !errors.Is(err, ErrGone) {
		t.Errorf("vanishing: got %v", err)
	}
	if maps, err := f.Maps(); err != nil || len(maps) != 1 {
		t.Errorf("got %v, %v", maps, err)
	}
}

func TestHolders(t *testing.T) {
	f := tree(t, "up.tree")
	holders, err := f.Holders("sdb")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"dm-0"}, holders); diff != "" {
		t.Error(diff)
	}
	if holders, err := f.Holders("sdzz"); err != nil || len(holders) != 0 {
		t.Errorf("no disk: got %v, %v", holders, err)
	}
}
