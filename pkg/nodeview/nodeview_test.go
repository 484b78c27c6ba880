package nodeview

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/compliance"
	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/staging"
	"github.com/portbind/portbind/pkg/sysfs"
)

const (
	iqn  = "iqn.2026-11.io.example:t"
	wwid = "naa.60014050000000000000000000000001"
)

var (
	portal1 = netip.MustParseAddrPort("10.99.0.1:3260")
	portal2 = netip.MustParseAddrPort("10.99.0.2:3260")
)

// example is a node with a volume: one path works, one has failed, of one the session is not there; another's map is beside it.
func example() Snapshot {
	addrs := []netip.Prefix{netip.MustParsePrefix("10.99.0.10/24")}
	interfaces := binding.Resolution{
		Interfaces: []binding.Interface{{Name: "san-a", NIC: "eth2", Addrs: addrs, Up: true}},
		Problems:   []binding.Problem{{Interface: "san-b", Err: binding.ErrMissing}},
		NICs:       []binding.NIC{{Name: "eth2", Kind: "device", MAC: "02:00:00:00:00:01", MTU: 9000, Addrs: addrs, Up: true, AdminUp: true}},
	}
	return Snapshot{
		Interfaces: interfaces, Compliance: compliance.Snapshot{Interfaces: interfaces}, BootID: "now",
		NICs: map[string]sysfs.NIC{"eth2": {Name: "eth2", Carrier: true, SpeedMbps: 10000, RxBytes: 5 << 30, TxBytes: 999}},
		Sessions: []sysfs.Session{
			{
				ID: 1, Host: 1, Target: iqn, Iface: "pb-san-a", NIC: "eth2", State: sysfs.SessionLoggedIn, Portal: portal1, Persistent: portal1,
				RecoveryTimeout: 1,
			},
			{ID: 2, Host: 2, Target: iqn, Iface: "pb-san-a", NIC: "eth2", State: sysfs.SessionFree, Persistent: portal2},
		},
		Disks: []sysfs.Disk{
			{Name: "sda", HCTL: sysfs.HCTL{Host: 1, LUN: 3}, WWID: wwid, Major: 8, State: sysfs.DiskRunning},
			{Name: "sdb", HCTL: sysfs.HCTL{Host: 2, LUN: 3}, WWID: wwid, Major: 8, Minor: 16, State: "transport-offline"},
			{Name: "sdc", HCTL: sysfs.HCTL{Host: 9}, WWID: "naa.5000", Major: 8, Minor: 32},
		},
		Maps: []Map{
			{Map: sysfs.Map{Device: "dm-1", Name: "other", UUID: "mpath-35000", Slaves: []string{"sdc"}}},
			{
				Map: sysfs.Map{Device: "dm-0", Name: "3" + wwid[4:], UUID: "mpath-3" + wwid[4:], SizeBytes: 1 << 30, Slaves: []string{"sda", "sdb"}},
				Paths: []multipath.PathState{
					{Devno: multipath.Devno{Major: 8}, Active: true}, {Devno: multipath.Devno{Major: 8, Minor: 16}},
				},
				Queues: true,
			},
		},
		Records: []*staging.Record{{
			VolumeID: "t/p/v1", Staged: true, BootID: "now", Claim: staging.Claim{Namespace: "shop", Name: "db"},
			Attachment: staging.Attachment{
				Target: iqn, Portals: []netip.AddrPort{portal1, portal2}, LUN: 3, Interfaces: []string{"san-a"}, Pairing: "auto", MinPaths: 1,
			},
			Published: map[string]staging.Publication{"/b": {}, "/a": {}},
		}},
	}
}

func table[R Row](t *testing.T, format Format, rows []R) string {
	t.Helper()
	var text strings.Builder
	if err := Print(&text, format, rows); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(text.String()) {
		lines = append(lines, strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n")
}

func TestTables(t *testing.T) {
	s := example()
	got := strings.Join([]string{
		table(t, Table, s.InterfaceRows()), table(t, Table, s.SessionRows()), table(t, Table, s.PathRows()), table(t, Table, s.VolumeRows()),
	}, "\n\n") + "\n"
	want, err := os.ReadFile(filepath.Join("testdata", "tables.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestFormats(t *testing.T) {
	rows := example().VolumeRows()
	if text := table(t, Wide, rows); !strings.Contains(text, "LOST") || !strings.Contains(text, "session down to 10.99.0.2:3260") {
		t.Error(text)
	}
	if text := table(t, JSON, rows); !strings.Contains(text, `"workingPaths": 1,`) || !strings.Contains(text, wwid) {
		t.Error(text)
	}
	if text := table(t, YAML, rows); !strings.Contains(text, "- claim: shop/db") {
		t.Error(text)
	}
	if text := table(t, JSON, Snapshot{}.PathRows()); text != "[]" {
		t.Errorf("no paths are %q", text)
	}
	if _, err := ParseFormat("xml", Table, JSON); err == nil || !strings.Contains(err.Error(), "table, json") {
		t.Errorf("got %v", err)
	}
}

func TestVolumeStates(t *testing.T) {
	tests := map[string]struct {
		change func(s *Snapshot)
		want   string
	}{
		"a path has failed": {func(*Snapshot) {}, Degraded},
		"all work": {func(s *Snapshot) {
			s.Sessions[1].State, s.Maps[1].Paths[1].Active = sysfs.SessionLoggedIn, true
		}, Whole},
		"none works":               {func(s *Snapshot) { s.Maps[1].Paths[0].Active = false }, Inaccessible},
		"none works, I/O fails":    {func(s *Snapshot) { s.Maps[1].Paths[0].Active, s.Maps[1].Queues = false, false }, Failing},
		"no map":                   {func(s *Snapshot) { s.Maps = nil }, Detached},
		"no disks":                 {func(s *Snapshot) { s.Maps, s.Disks = nil, nil }, Detached},
		"of the boot before":       {func(s *Snapshot) { s.BootID = "later" }, NotStaged},
		"its staging has begun":    {func(s *Snapshot) { s.Records[0].Staged = false }, NotStaged},
		"found by its disks":       {func(s *Snapshot) { s.Maps[1].UUID = "mpath-mpatha" }, Degraded},
		"its record has the WWID":  {func(s *Snapshot) { s.Records[0].Attachment.WWID = wwid }, Degraded},
		"its record has another's": {func(s *Snapshot) { s.Records[0].Attachment.WWID = "naa.60014050000000000000000000000009" }, Detached},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := example()
			test.change(&s)
			if got := s.VolumeRows()[0].State; got != test.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

// A path of another's session counts when the map uses it, and only then.
func TestForeignPaths(t *testing.T) {
	s := example()
	s.Disks[2].WWID = wwid
	if paths := s.PathsOf(wwid); len(paths) != 2 {
		t.Errorf("%+v", paths)
	}
	s.Maps[1].Paths = append(s.Maps[1].Paths, multipath.PathState{Devno: multipath.Devno{Major: 8, Minor: 32}, Active: true})
	if paths := s.PathsOf(wwid); len(paths) != 3 || paths[0].Interface != "" || paths[0].State != attach.StateActive {
		t.Errorf("%+v", paths)
	}
}

// Nothing is on a node at first, not even the directory of the records.
func TestLookAtNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/proc/sys/kernel/random", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/proc/sys/kernel/random/boot_id", []byte("now\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Source{Sys: sysfs.FS(dir + "/sys"), Proc: dir + "/proc", Dev: dir + "/dev", StateDir: dir + "/state"}.Look(t.Context())
	if err != nil || s.BootID != "now" || len(s.VolumeRows())+len(s.PathRows())+len(s.SessionRows())+len(s.InterfaceRows()) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 200 << 20: "200 MiB", 3 << 50: "3.0 PiB", 1 << 63: "8192 PiB"} {
		if got := size(n); got != want {
			t.Errorf("%d is %s, not %s", n, got, want)
		}
	}
}
