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
	"github.com/portbind/portbind/pkg/view"
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
		NICs: map[string]sysfs.NIC{"eth2": {Name: "eth2", Carrier: true, SpeedMbps: 10000, RxBytes: 5 << 30, TxBytes: 999, Flaps: new(2)}},
		Sessions: []sysfs.Session{
			{
				ID: 1, Host: 1, Target: iqn, Iface: "pb-san-a", NIC: "eth2", State: sysfs.SessionLoggedIn, Portal: portal1, Persistent: portal1,
				RecoveryTimeout: 1, NoopInterval: 2, NoopTimeout: 3,
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

func table[R view.Row](t *testing.T, format view.Format, rows []R) string {
	t.Helper()
	var text strings.Builder
	if err := view.Print(&text, view.Layout{Format: format}, rows); err != nil {
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
		table(t, view.Table, s.InterfaceRows()), table(t, view.Table, s.SessionRows()), table(t, view.Table, s.PathRows()), table(t, view.Table, s.VolumeRows()),
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
	if text := table(t, view.Wide, rows); !strings.Contains(text, "LOST") || !strings.Contains(text, "session down to 10.99.0.2:3260") {
		t.Error(text)
	}
	if text := table(t, view.JSON, rows); !strings.Contains(text, `"workingPaths": 1,`) || !strings.Contains(text, wwid) {
		t.Error(text)
	}
	if text := table(t, view.YAML, rows); !strings.Contains(text, "- claim: shop/db") {
		t.Error(text)
	}
	if text := table(t, view.JSON, Snapshot{}.PathRows()); text != "[]" {
		t.Errorf("no paths are %q", text)
	}
}

func TestVolumeStates(t *testing.T) {
	tests := map[string]struct {
		change func(s *Snapshot)
		want   string
	}{
		"a path has failed": {func(*Snapshot) {}, view.Degraded},
		"all work": {func(s *Snapshot) {
			s.Sessions[1].State, s.Maps[1].Paths[1].Active = sysfs.SessionLoggedIn, true
		}, view.Whole},
		"none works":               {func(s *Snapshot) { s.Maps[1].Paths[0].Active = false }, view.Inaccessible},
		"none works, I/O fails":    {func(s *Snapshot) { s.Maps[1].Paths[0].Active, s.Maps[1].Queues = false, false }, view.Failing},
		"no map":                   {func(s *Snapshot) { s.Maps = nil }, view.Detached},
		"no disks":                 {func(s *Snapshot) { s.Maps, s.Disks = nil, nil }, view.Detached},
		"of the boot before":       {func(s *Snapshot) { s.BootID = "later" }, view.NotStaged},
		"its staging has begun":    {func(s *Snapshot) { s.Records[0].Staged = false }, view.NotStaged},
		"found by its disks":       {func(s *Snapshot) { s.Maps[1].UUID = "mpath-mpatha" }, view.Degraded},
		"its record has the WWID":  {func(s *Snapshot) { s.Records[0].Attachment.WWID = wwid }, view.Degraded},
		"its record has another's": {func(s *Snapshot) { s.Records[0].Attachment.WWID = "naa.60014050000000000000000000000009" }, view.Detached},
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

// Sessions that volumes need count when they are not there, and those that no volume needs when they are.
func TestSessionCounts(t *testing.T) {
	tests := map[string]struct {
		change                    func(s *Snapshot)
		loggedIn, total, expected int
	}{
		"one is down":            {func(*Snapshot) {}, 1, 2, 2},
		"one is gone":            {func(s *Snapshot) { s.Sessions = s.Sessions[:1] }, 1, 2, 2},
		"the volume is gone":     {func(s *Snapshot) { s.Records = nil }, 1, 2, 0},
		"one of another target":  {func(s *Snapshot) { s.Sessions[1].Target = "iqn.2026-11.io.example:u" }, 1, 3, 2},
		"none is there any more": {func(s *Snapshot) { s.Sessions, s.Disks, s.Maps = nil, nil, nil }, 0, 2, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := example()
			test.change(&s)
			i := s.InterfaceRows()[0]
			if i.Sessions != test.loggedIn || i.SessionsTotal != test.total || i.SessionsExpected != test.expected {
				t.Errorf("got %d/%d, %d expected", i.Sessions, i.SessionsTotal, i.SessionsExpected)
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
