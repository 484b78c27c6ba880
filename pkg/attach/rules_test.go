package attach

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/pkg/multipath/mpdtest"
	"github.com/portbind/portbind/pkg/sysfs"
)

const mapID = "36001405aaaaaaaaaaaaaaaaaaaaaaaaa"

func onHost(host int, minor uint32) sysfs.Disk {
	return sysfs.Disk{Name: "sd", Major: 8, Minor: minor, HCTL: sysfs.HCTL{Host: host}}
}

func TestGroupsOf(t *testing.T) {
	a := &Attacher{sys: sysfs.FS(t.TempDir())}
	disks := []sysfs.Disk{onHost(1, 0), onHost(2, 16), onHost(3, 32), onHost(4, 48)}
	for name, c := range map[string]struct {
		rules multipath.Rules
		want  [][]multipath.Devno
	}{
		"no rules":           {multipath.Rules{}, [][]multipath.Devno{numbered(0, 16, 32, 48)}},
		"selector":           {multipath.Rules{Selector: "round-robin"}, [][]multipath.Devno{numbered(0, 16, 32, 48)}},
		"preferred":          {multipath.Rules{Prefer: true, Preferred: []int{3, 2}}, [][]multipath.Devno{numbered(16, 32), numbered(0, 48)}},
		"preferred is away":  {multipath.Rules{Prefer: true}, [][]multipath.Devno{numbered(0, 16, 32, 48)}},
		"all preferred":      {multipath.Rules{Prefer: true, Preferred: []int{1, 2, 3, 4}}, [][]multipath.Devno{numbered(0, 16, 32, 48)}},
		"failover":           {multipath.Rules{Grouping: "failover"}, [][]multipath.Devno{numbered(0), numbered(16), numbered(32), numbered(48)}},
		"failover preferred": {multipath.Rules{Grouping: "failover", Prefer: true, Preferred: []int{3}}, [][]multipath.Devno{numbered(32), numbered(0), numbered(16), numbered(48)}},
	} {
		if diff := cmp.Diff(c.want, a.groupsOf(shape{rules: c.rules}, disks)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestGroupsOfALUA: an array's states count more than a preferred interface, in the first table as in multipathd's. They cannot be asked
// for here, and are alike for that.
func TestGroupsOfALUA(t *testing.T) {
	root := t.TempDir()
	inquiry, page := make([]byte, 36), []byte{0, 0x83, 0, 8, 1, 0x15, 0, 4, 0, 0, 0, 1}
	inquiry[5] = 0x10 // implicit asymmetric access
	for name, data := range map[string][]byte{"inquiry": inquiry, "vpd_pg83": page} {
		file := filepath.Join(root, "block/sd/device", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	s := shape{rules: multipath.Rules{Prefer: true, Preferred: []int{2}}}
	theirs := []sysfs.Disk{onHost(1, 0), onHost(2, 16)}
	ours := []sysfs.Disk{onHost(1, 0), onHost(2, 16)}
	for i := range ours {
		ours[i].Vendor, ours[i].Model = multipath.Vendor, multipath.Product
	}
	a := &Attacher{sys: sysfs.FS(root), cfg: Config{Dev: root}, life: t.Context()}
	if diff := cmp.Diff([][]multipath.Devno{numbered(0, 16)}, a.groupsOf(s, theirs)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]multipath.Devno{numbered(16), numbered(0)}, a.groupsOf(s, ours)); diff != "" {
		t.Error(diff)
	}
}

// fakeMultipathd counts reconfigures; refuse makes it refuse them.
type fakeMultipathd struct {
	mu       sync.Mutex
	read     int
	refuse   bool
	whileAny []string // what was in the directory at the last reconfigure
	dir      string
}

func (f *fakeMultipathd) answer(command string) *string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := "fail\n"
	switch {
	case command == "show daemon":
		text = "pid 1 idle\n"
	case command == "reconfigure" && !f.refuse:
		f.read++
		f.whileAny, _ = filepath.Glob(filepath.Join(f.dir, "*"))
		text = "ok\n"
	}
	return &text
}

// ruler is an Attacher with a fake multipathd, and a node without sessions.
func ruler(t *testing.T) (*Attacher, *fakeMultipathd) {
	t.Helper()
	sys := t.TempDir()
	if err := os.MkdirAll(filepath.Join(sys, "class", "iscsi_session"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := &fakeMultipathd{dir: filepath.Join(t.TempDir(), "conf.d")}
	return &Attacher{
		cfg: Config{Files: func(fn func() error) error { return fn() }, Policy: multipath.DefaultPolicy()},
		sys: sysfs.FS(sys), mpd: multipath.NewClientAt(mpdtest.Serve(t, f.answer)), rules: multipath.RuleFiles{ConfigFile: filepath.Join(f.dir, "portbind.conf")},
	}, f
}

func specWith(p Policy) Spec {
	return Spec{Target: "iqn.2026-11.io.example:t", WWID: "naa." + mapID[1:], Policy: p}
}

func (f *fakeMultipathd) want(t *testing.T, read int, what string) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read != read {
		t.Errorf("%s: multipathd has read its configuration %d times, want %d", what, f.read, read)
	}
}

// TestGovern: multipathd reads its configuration when rules change and only then; a volume without rules costs nothing,
// unless one of the same name had some.
func TestGovern(t *testing.T) {
	a, f := ruler(t)
	govern := func(p Policy) shape {
		t.Helper()
		s, err := a.govern(t.Context(), mapID, specWith(p))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := govern(Policy{}); !s.queue || !s.rules.None() {
		t.Errorf("no policy became %+v", s)
	}
	f.want(t, 0, "no policy")
	if s := govern(Policy{NoPathRetry: "fail", PreferredInterface: "san-a"}); s.queue || !s.rules.Prefer {
		t.Errorf("fail became %+v", s)
	}
	f.want(t, 1, "a policy")
	govern(Policy{NoPathRetry: "fail", PreferredInterface: "san-a"})
	f.want(t, 1, "the same policy")
	govern(Policy{NoPathRetry: "30s"})
	f.want(t, 2, "another policy")
	a.dropRules(t.Context(), mapID)
	f.want(t, 2, "detached")
	govern(Policy{})
	f.want(t, 3, "back without a policy")
	if len(f.whileAny) != 1 {
		t.Errorf("what multipathd read last: %q, want one empty file", f.whileAny)
	}
	if left, _ := filepath.Glob(filepath.Join(f.dir, "*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	govern(Policy{})
	f.want(t, 3, "again without")
}

// TestGovernAgain: what multipathd refused to read is read the next time, though the file has it already.
func TestGovernAgain(t *testing.T) {
	a, f := ruler(t)
	f.refuse = true
	if _, err := a.govern(t.Context(), mapID, specWith(Policy{PathSelector: "round-robin"})); !errors.Is(err, multipath.ErrRefused) {
		t.Errorf("got %v", err)
	}
	f.mu.Lock()
	f.refuse = false
	f.mu.Unlock()
	if _, err := a.govern(t.Context(), mapID, specWith(Policy{PathSelector: "round-robin"})); err != nil {
		t.Error(err)
	}
	f.want(t, 1, "after a refusal")
	if _, err := a.govern(t.Context(), mapID, specWith(Policy{PathSelector: "x\n"})); !errors.Is(err, multipath.ErrInput) {
		t.Errorf("an unchecked policy: %v", err)
	}
}

// TestGovernBeside: who changes a policy waits for whoever works on the volume, perhaps with the policy of before; who comes again does not.
func TestGovernBeside(t *testing.T) {
	a, _ := ruler(t)
	a.dm = multipath.NewDM(t.TempDir())
	spec := specWith(Policy{})
	latest := func() (Spec, error) { return spec, nil }
	unlock, err := a.volumes.Lock(t.Context(), spec.WWID)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Govern(ctx, spec.WWID, latest) }()
	if err := a.TryGovern(t.Context(), spec.WWID, latest); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("gave up with %v", err)
	}
	unlock()
	if err := a.TryGovern(t.Context(), spec.WWID, latest); err == nil {
		t.Error("looked for no map, here where device-mapper is away")
	}
}

// TestGovernMany: volumes that come together share what multipathd does.
func TestGovernMany(t *testing.T) {
	a, f := ruler(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			id := mapID[:len(mapID)-1] + string("0123456789abcdefghij"[i])
			if _, err := a.govern(context.WithoutCancel(t.Context()), id, specWith(Policy{PathSelector: "round-robin"})); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.read > 20 || f.read == 0 || a.loaded != 20 {
		t.Errorf("%d readings, %d changes read", f.read, a.loaded)
	}
	if !slices.ContainsFunc(f.whileAny, func(s string) bool { return filepath.Ext(s) == ".conf" }) {
		t.Errorf("read %q", f.whileAny)
	}
}
