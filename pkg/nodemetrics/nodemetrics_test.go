package nodemetrics

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/sysfs"
)

// node is a sysfs with four sessions, captured from a kernel; see pkg/sysfs/testdata/capture.sh.
type node struct {
	*testing.T
	root string
}

func newNode(t *testing.T) *node {
	t.Helper()
	data, err := os.ReadFile("../sysfs/testdata/up.tree")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t, t.TempDir()}
	for text := string(data); text != ""; {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		fields := strings.Fields(line)
		path := filepath.Join(n.root, fields[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if fields[0] == "l" {
			if err := os.Symlink(fields[2], path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var size int
		if _, err := fmt.Sscan(fields[2], &size); err != nil {
			t.Fatal(line, err)
		}
		n.write(text[:size], fields[1])
		text = text[size+1:]
	}
	for _, disk := range []string{"sda", "sdb", "sdc", "sdd", "sde", "sdf", "sdg", "sdh"} {
		n.stat(disk, 0, 0)
	}
	return n
}

func (n *node) write(text string, names ...string) {
	n.Helper()
	path := filepath.Join(append([]string{n.root}, names...)...)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		n.Fatal(err)
	}
}

// stat gives a disk so many writes, of 8 sectors and 20 ms each.
func (n *node) stat(disk string, writes, inFlight int) {
	n.Helper()
	n.write(fmt.Sprintf("0 0 0 0 %d 0 %d %d %d 0 0\n", writes, 8*writes, 20*writes, inFlight), "block", disk, "stat")
}

func (n *node) nic(name string, flaps string) {
	n.Helper()
	for file, text := range map[string]string{
		"carrier": "1\n", "operstate": "up\n", "mtu": "1500\n", "carrier_down_count": flaps,
		"statistics/rx_bytes": "100\n", "statistics/tx_bytes": "200\n",
	} {
		n.write(text, "class/net", name, file)
	}
}

func interfaces() (binding.Resolution, error) {
	return binding.Resolution{Interfaces: []binding.Interface{{Name: "san-a", NIC: "san0"}, {Name: "san-b", NIC: "gone"}}}, nil
}

func compare(t *testing.T, c prometheus.Collector, want string, names ...string) {
	t.Helper()
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestNICs(t *testing.T) {
	n := newNode(t)
	n.nic("san0", "3\n")
	c := New(t.Context(), sysfs.FS(n.root), interfaces)
	const names = "portbind_interface_link_losses_total portbind_interface_receive_bytes_total portbind_interface_transmit_bytes_total"
	compare(t, c, `
# HELP portbind_interface_link_losses_total Times that the NIC of a storage interface lost its link since it was made.
# TYPE portbind_interface_link_losses_total counter
portbind_interface_link_losses_total{device="san0",interface="san-a"} 3
# HELP portbind_interface_receive_bytes_total Bytes that the NIC of a storage interface received, of whatever traffic.
# TYPE portbind_interface_receive_bytes_total counter
portbind_interface_receive_bytes_total{device="san0",interface="san-a"} 100
# HELP portbind_interface_transmit_bytes_total Bytes that the NIC of a storage interface sent, of whatever traffic.
# TYPE portbind_interface_transmit_bytes_total counter
portbind_interface_transmit_bytes_total{device="san0",interface="san-a"} 200
`, strings.Fields(names)...)
}

func TestSessions(t *testing.T) {
	n := newNode(t)
	c := New(t.Context(), sysfs.FS(n.root), interfaces)
	n.write("FAILED\n", "class/iscsi_session/session1/state")
	compare(t, c, `
# HELP portbind_sessions Bound sessions, by interface, portal and state.
# TYPE portbind_sessions gauge
portbind_sessions{interface="san-a",portal="10.99.0.1:3260",state="failed"} 1
portbind_sessions{interface="san-a",portal="10.99.0.2:3260",state="logged_in"} 1
portbind_sessions{interface="san-b",portal="10.99.0.1:3260",state="logged_in"} 1
portbind_sessions{interface="san-b",portal="10.99.0.2:3260",state="logged_in"} 1
`, "portbind_sessions")
}

// TestPathsNeverFall: counters go on when disks go, and when others of the same name come.
func TestPathsNeverFall(t *testing.T) {
	n := newNode(t)
	c := New(t.Context(), sysfs.FS(n.root), interfaces)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	want := func(writes, seconds, inFlight float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if len(m.GetLabel()) == 2 && m.GetLabel()[0].GetValue() == "san-a" && m.GetLabel()[1].GetValue() == "10.99.0.1:3260" {
					got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		if got["portbind_path_writes_total"] != writes || got["portbind_path_written_bytes_total"] != writes*4096 ||
			got["portbind_path_write_seconds_total"] != seconds || got["portbind_path_io_in_flight"] != inFlight {
			t.Errorf("got %v, want %v writes, %v s, %v in flight", got, writes, seconds, inFlight)
		}
	}
	want(0, 0, 0)
	n.stat("sda", 100, 2)
	n.stat("sdb", 50, 1)
	want(150, 3, 3)
	n.stat("sda", 10, 0) // another disk of that name
	n.stat("sdb", 60, 0)
	want(170, 3.4, 0)
	if err := os.RemoveAll(filepath.Join(n.root, "block/sda/stat")); err != nil {
		t.Fatal(err)
	}
	want(170, 3.4, 0)
}

func TestHealed(t *testing.T) {
	c := New(t.Context(), sysfs.FS(newNode(t).root), interfaces)
	c.Healed(binding.Pair{Interface: binding.Interface{Name: "san-b"}})
	compare(t, c, `
# HELP portbind_heal_paths_total Paths that healing brought back to the map of a volume.
# TYPE portbind_heal_paths_total counter
portbind_heal_paths_total{interface="san-b"} 1
`, "portbind_heal_paths_total")
}
