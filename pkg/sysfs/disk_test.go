package sysfs

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	wwidLUN0   = "naa.60014051000000000000000000000000"
	wwidLUN300 = "naa.60014052000000000000000000000000"
)

func TestSessionLUN(t *testing.T) {
	f := tree(t, "up.tree")
	got, err := f.SessionLUN(3, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := Disk{
		Name: "sde", HCTL: HCTL{2, 0, 0, 0}, WWID: wwidLUN0, SizeBytes: 256 << 20, Major: 8, Minor: 64,
		State: DiskRunning, Vendor: "LIO-ORG", Model: "FILEIO",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Dev() != "8:64" {
		t.Errorf("Dev: got %s", got.Dev())
	}
	high, err := f.SessionLUN(3, 300)
	if err != nil || high.Name != "sdf" || high.WWID != wwidLUN300 || high.HCTL.String() != "2:0:0:300" {
		t.Errorf("LUN 300: got %+v, %v", high, err)
	}
}

func TestSessionLUNThatIsNotThere(t *testing.T) {
	f := tree(t, "up.tree")
	for _, lun := range []int{1, 255, 16384, -1} {
		if _, err := f.SessionLUN(1, lun); !errors.Is(err, ErrGone) {
			t.Errorf("LUN %d: got %v", lun, err)
		}
	}
	if _, err := f.SessionLUN(99, 0); !errors.Is(err, ErrGone) {
		t.Errorf("no session: got %v", err)
	}
	// A SCSI device is there before its disk is.
	remove(t, f, "devices/platform/host0/session1/target0:0:0/0:0:0:0/block")
	if _, err := f.SessionLUN(1, 0); !errors.Is(err, ErrGone) {
		t.Errorf("no disk yet: got %v", err)
	}
}

func TestSessionDisksByLUN(t *testing.T) {
	f := tree(t, "up.tree")
	remove(t, f, "devices/platform/host1/session2/target1:0:0/1:0:0:0/block/sdc/size")
	tests := []struct {
		session int
		want    []string
	}{
		{1, []string{"sda", "sdb"}},
		{2, []string{"sdd"}}, // sdc vanishes while it is read
		{99, nil},
	}
	for _, test := range tests {
		disks, err := f.SessionDisks(test.session)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, diskNames(disks)); diff != "" {
			t.Errorf("session %d: %s", test.session, diff)
		}
	}
}

func TestDisksByWWID(t *testing.T) {
	f := tree(t, "up.tree")
	disks, err := f.DisksByWWID(wwidLUN300)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sdb", "sdd", "sdf", "sdh"}, diskNames(disks)); diff != "" {
		t.Error(diff)
	}
	if disks, err := f.DisksByWWID("naa.0"); err != nil || len(disks) != 0 {
		t.Errorf("unknown WWID: got %v, %v", disks, err)
	}
	all, err := f.Disks()
	if diff := cmp.Diff([]string{"sda", "sdb", "sdc", "sdd", "sde", "sdf", "sdg", "sdh"}, diskNames(all)); err != nil || diff != "" {
		t.Errorf("all: %v\n%s", err, diff)
	}
}

func TestDiskStates(t *testing.T) {
	f := tree(t, "failed.tree")
	for name, want := range map[string]string{"sda": "transport-offline", "sde": "blocked"} {
		if d, err := f.Disk(name); err != nil || d.State != want || d.WWID != wwidLUN0 {
			t.Errorf("%s: got %+v, %v", name, d, err)
		}
	}
	if _, err := f.Disk("sdzz"); !errors.Is(err, ErrGone) {
		t.Errorf("no disk: got %v", err)
	}
}

func TestScanLUNWritesTheAddress(t *testing.T) {
	f := tree(t, "up.tree")
	tests := []struct {
		lun  int
		want string
	}{
		{0, "0 0 0"},
		{255, "0 0 255"},
		{300, "0 0 300"},   // found: the second address is not tried
		{301, "0 0 16685"}, // not found under its own number: flat space
		{20000, "0 0 20000"},
	}
	for _, test := range tests {
		must(t, f.truncate("class/scsi_host/host3/scan"))
		if err := f.ScanLUN(3, test.lun); err != nil {
			t.Fatal(err)
		}
		if got := content(t, f, "class/scsi_host/host3/scan"); got != test.want {
			t.Errorf("LUN %d: got %q, want %q", test.lun, got, test.want)
		}
	}
	if err := f.ScanLUN(99, 0); !errors.Is(err, ErrGone) {
		t.Errorf("no host: got %v", err)
	}
}

func TestDeleteAndRescanDisk(t *testing.T) {
	f := tree(t, "up.tree")
	if err := errors.Join(f.DeleteDisk("sda"), f.RescanDisk("sdb")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, f, "block/sda/device/delete"); got != "1" {
		t.Errorf("delete: got %q", got)
	}
	if got := content(t, f, "block/sdb/device/rescan"); got != "1" {
		t.Errorf("rescan: got %q", got)
	}
	if err := f.DeleteDisk("sdzz"); err != nil {
		t.Errorf("delete of no disk: got %v", err)
	}
	if err := f.RescanDisk("sdzz"); !errors.Is(err, ErrGone) {
		t.Errorf("rescan of no disk: got %v", err)
	}
}

func TestWWIDWithoutDesignator(t *testing.T) {
	f := tree(t, "up.tree")
	remove(t, f, "block/sda/device/wwid")
	if d, err := f.Disk("sda"); err != nil || d.WWID != "" {
		t.Errorf("got %+v, %v", d, err)
	}
}

func diskNames(disks []Disk) []string {
	var names []string
	for _, d := range disks {
		names = append(names, d.Name)
	}
	return names
}
