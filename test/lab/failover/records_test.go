//go:build lab

package failover

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/test/lab/labenv"
)

// TestForeignRecords lets somebody delete open-iscsi's records or make them name the wrong NIC, before a stage and
// under a staged volume: scorecard row 21. Sessions always come to be on the NIC that the configuration names.
func TestForeignRecords(t *testing.T) {
	s := newStack(t)
	ctx, cancel := s.Context(10 * time.Minute)
	defer cancel()
	v := create(s, "records", nil)
	must(t, v.ControllerPublish(ctx))
	must(t, v.Stage(ctx))
	records := saveRecords(t)
	must(t, v.Unstage(ctx))
	goneSessions(s)
	for _, damage := range damages(s) {
		t.Run("stage/"+damage.name, func(t *testing.T) {
			records.restore(t) // as a node that lost its power leaves them
			damage.do(t)
			must(t, v.Stage(ctx))
			v.waitPaths(20*time.Second, allPaths)
			checkBinding(t, v)
			must(t, v.Unstage(ctx))
			goneSessions(s)
		})
	}
	must(t, v.Stage(ctx))
	for i, damage := range damages(s) {
		t.Run("heal/"+damage.name, func(t *testing.T) {
			// The path's session is closed by hand, so that it has to be made anew from the records.
			closeSession(t, s)
			damage.do(t)
			if i > 0 { // the first one is found when it is time to look, half a minute later
				changeLinks(s)
			}
			took := s.Eventually(90*time.Second, "the path to be made anew", func() bool {
				return loggedIn() == allPaths && len(labenv.Disks()) == allPaths && v.active() == allPaths
			})
			t.Logf("healed after %v", took)
			checkBinding(t, v)
		})
	}
	must(t, v.Unstage(ctx))
	must(t, v.ControllerUnpublish(ctx))
	must(t, v.Delete(ctx))
	tidy(s)
}

// damage is what foreign hands do to the records of the second NIC, the one that no route leads to.
type damage struct {
	name string
	do   func(t *testing.T)
}

func damages(s *labenv.Stack) []damage {
	first, second := s.Net.NICs[0], s.Net.NICs[1]
	replace := func(from, to string) func(t *testing.T) {
		return func(t *testing.T) { edit(t, from, to) }
	}
	return []damage{
		{"iface record deleted", func(t *testing.T) { remove(t, "/etc/iscsi/ifaces/pb-*") }},
		{"all records deleted", func(t *testing.T) { remove(t, "/etc/iscsi/ifaces/pb-*"); remove(t, "/etc/iscsi/nodes/*") }},
		{"wrong NIC named", replace("net_ifacename = "+second, "net_ifacename = "+first)},
		{"NIC that does not exist named", replace("net_ifacename = "+second, "net_ifacename = nosuch0")},
		{"no NIC named", replace("iface.net_ifacename = "+second+"\n", "")},
		{"records are rubbish", replace("iface.", "\x00\xff")},
	}
}

// recordFiles are our records by path.
type recordFiles map[string][]byte

func paths() []string {
	ifaces, _ := filepath.Glob("/etc/iscsi/ifaces/pb-*")
	nodes, _ := filepath.Glob("/etc/iscsi/nodes/*/*/pb-*")
	return slices.Concat(ifaces, nodes)
}

func saveRecords(t *testing.T) recordFiles {
	t.Helper()
	files := recordFiles{}
	for _, path := range paths() {
		data, err := os.ReadFile(path)
		must(t, err)
		files[path] = data
	}
	if len(files) != allPaths+2 {
		t.Fatalf("%d records: %v; wanted one per NIC and one per path", len(files), paths())
	}
	return files
}

func (r recordFiles) restore(t *testing.T) {
	t.Helper()
	for path, data := range r {
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, data, 0o600))
	}
}

func remove(t *testing.T, pattern string) {
	t.Helper()
	files, _ := filepath.Glob(pattern)
	if len(files) == 0 {
		t.Fatalf("nothing there: %s", pattern)
	}
	for _, f := range files {
		must(t, os.RemoveAll(f))
	}
}

// edit replaces text in all iface and node records of ours.
func edit(t *testing.T, from, to string) {
	t.Helper()
	edited := 0
	for _, f := range paths() {
		data, err := os.ReadFile(f)
		must(t, err)
		if !strings.Contains(string(data), from) {
			continue
		}
		edited++
		must(t, os.WriteFile(f, []byte(strings.ReplaceAll(string(data), from, to)), 0o600))
	}
	if edited == 0 {
		t.Fatalf("no record says %q", from)
	}
}

// closeSession logs a session of the second NIC out behind the plugin's back.
func closeSession(t *testing.T, s *labenv.Stack) {
	t.Helper()
	for _, session := range labenv.Sessions() {
		if session.NIC == s.Net.NICs[1] {
			s.Run("iscsiadm", "-m", "session", "-r", fmt.Sprint(session.ID), "-u")
			return
		}
	}
	t.Fatal("no session on the second NIC")
}

// changeLinks has a network device come and go, which makes the plugin look at its sessions.
func changeLinks(s *labenv.Stack) {
	s.T.Helper()
	s.Run("ip", "link", "add", "passing", "type", "veth", "peer", "name", "passing-peer")
	s.Run("ip", "link", "del", "passing")
}

// checkBinding asks the kernel which NIC each session is bound to, and the NICs' counters whether it is true.
func checkBinding(t *testing.T, v *volume) {
	t.Helper()
	want := map[string]string{}
	for i, name := range v.s.InterfaceNames() {
		want["pb-"+name] = v.s.Net.NICs[i]
	}
	pairs := map[string]int{}
	for _, s := range labenv.Sessions() {
		if s.NIC != want[s.Iface] {
			t.Errorf("session %+v: its iface is of NIC %s", s, want[s.Iface])
		}
		pairs[s.NIC+" "+s.Portal]++
	}
	if len(pairs) != allPaths {
		t.Errorf("sessions %v; wanted one for each NIC and portal", pairs)
	}
	const blocks = 256
	before := sent(v.s)
	writeBlocks(t, v, blocks)
	after := sent(v.s)
	a, b := after[0]-before[0], after[1]-before[1]
	t.Logf("%d KiB by %s, %d KiB by %s", a/1024, v.s.Net.NICs[0], b/1024, v.s.Net.NICs[1])
	// Not a share of what was sent: a fresh file system writes its tables meanwhile, in large pieces.
	if min(a, b) < blocks*4096/4 {
		t.Errorf("%d and %d bytes by the two NICs: one does not carry what is bound to it", a, b)
	}
}

// writeBlocks writes n blocks of 4 KiB one after the other to a file of the staged volume, past the cache.
func writeBlocks(t *testing.T, v *volume, n uint64) {
	t.Helper()
	w := v.s.Writer(filepath.Join(v.StagingPath, "blocks"))
	v.s.Eventually(30*time.Second, "blocks written", func() bool { r := w.Result(); return r.Err != nil || r.Acked >= n })
	if r := w.Stop(10 * time.Second); r.Err != nil {
		t.Error(r.Err)
	}
}

// TestMissingNIC stages with an interface whose NIC this node does not have: refused with a message that says so,
// never attached through another NIC.
func TestMissingNIC(t *testing.T) {
	s := labenv.NewStack(t, labenv.StackOptions{Node: labenv.NodeOptions{
		Interfaces: map[string]string{"san-a": "san0", "san-b": "nosuch0"}, Config: map[string]any{"sessionLinger": "1s"},
	}})
	ctx, cancel := s.Context(2 * time.Minute)
	defer cancel()
	v := create(s, "missing", map[string]string{"interfaces": "san-b"})
	must(t, v.ControllerPublish(ctx))
	err := v.Stage(ctx)
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("%v; wanted FailedPrecondition that names nosuch0", err)
	}
	if n := len(labenv.Sessions()); n > 0 {
		t.Errorf("%d sessions for an interface without a NIC", n)
	}
	must(t, v.ControllerUnpublish(ctx))
	must(t, v.Delete(ctx))
	tidy(s)
}
