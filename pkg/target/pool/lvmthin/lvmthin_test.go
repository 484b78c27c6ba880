package lvmthin

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portbind/portbind/pkg/hostexec"
	"github.com/portbind/portbind/pkg/target/pool"
)

const (
	mib    = int64(1) << 20
	gib    = int64(1) << 30
	serial = "123456789abcdef0123456789"
)

func newPool(t *testing.T) (*Pool, *fakeLVM) {
	t.Helper()
	f := newFakeLVM(t)
	p := NewGroup(f, "vg").Pool(Config{Name: "fast", ThinPool: "pool", Limits: Limits{Data: 0.95, Metadata: 0.9}})
	return p, f
}

func create(name string, required int64) pool.Create {
	return pool.Create{Name: name, Required: required, Serial: serial}
}

func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in %v", w, err)
		}
	}
}

func TestCreate(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	v := must[pool.Volume](t)(p.CreateVolume(ctx, create("a", 10*mib+1)))
	if v.Size != 12*mib || v.Serial != serial || v.Created.IsZero() {
		t.Errorf("created %+v", v)
	}
	again := must[pool.Volume](t)(p.CreateVolume(ctx, pool.Create{Name: "a", Required: 10 * mib, Serial: "other"}))
	if diff := cmp.Diff(v, again); diff != "" {
		t.Errorf("again (-first +second):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"lvcreate"}, f.calls); diff != "" {
		t.Errorf("programs (-want +got):\n%s", diff)
	}
	_, err := p.CreateVolume(ctx, create("a", gib))
	wantErr(t, err, pool.ErrExists)
	_, err = p.CreateVolume(ctx, pool.Create{Name: "a", Source: pool.Source{Kind: pool.FromSnapshot, Name: "s"}})
	wantErr(t, err, pool.ErrExists, "nothing")
}

// TestTagsRoundTrip: what a restart reads is what was made.
func TestTagsRoundTrip(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	made := must[pool.Volume](t)(p.CreateVolume(ctx, create("a", 8*mib)))
	snap := must[pool.Snapshot](t)(p.CreateSnapshot(ctx, "s", "a"))
	clone := must[pool.Volume](t)(p.CreateVolume(ctx, pool.Create{
		Name: "c", Required: 16 * mib, Serial: strings.Repeat("a", 25), Source: pool.Source{Kind: pool.FromSnapshot, Name: "s"},
	}))
	if clone.Size != 16*mib {
		t.Errorf("clone of %d bytes", clone.Size)
	}
	fresh := NewGroup(f, "vg").Pool(p.cfg)
	volumes := must[[]pool.Volume](t)(fresh.Volumes(ctx))
	snaps := must[[]pool.Snapshot](t)(fresh.Snapshots(ctx))
	same := cmpopts.EquateApproxTime(time.Microsecond)
	if diff := cmp.Diff([]pool.Volume{made, clone}, volumes, same); diff != "" {
		t.Errorf("volumes (-made +read):\n%s", diff)
	}
	if diff := cmp.Diff([]pool.Snapshot{snap}, snaps, same); diff != "" {
		t.Errorf("snapshots (-made +read):\n%s", diff)
	}
}

// TestListingIsKept: one lvs at the beginning, none for what we did ourselves, and one after an error.
func TestListingIsKept(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	for _, name := range []string{"a", "b", "c"} {
		must[pool.Volume](t)(p.CreateVolume(ctx, create(name, mib)))
		must[[]pool.Volume](t)(p.Volumes(ctx))
	}
	if f.listed != 1 {
		t.Errorf("listed %d times", f.listed)
	}
	f.fail["lvremove"] = failure("Logical volume vg/pbv_a in use.")
	wantErr(t, p.DeleteVolume(ctx, "a"), pool.ErrInUse)
	delete(f.fail, "lvremove")
	if volumes := must[[]pool.Volume](t)(p.Volumes(ctx)); len(volumes) != 3 || f.listed != 2 {
		t.Errorf("%d volumes, listed %d times", len(volumes), f.listed)
	}
}

func TestSizes(t *testing.T) {
	tests := map[string]struct {
		required, limit int64
		size            int64
		err             error
	}{
		"default":                       {size: pool.DefaultVolumeBytes},
		"rounded up":                    {required: 1, size: 4 * mib},
		"exact":                         {required: 8 * mib, limit: 8 * mib, size: 8 * mib},
		"default within limit":          {limit: 10 * mib, size: 8 * mib},
		"limit below an extent":         {limit: mib, err: pool.ErrOutOfRange},
		"limit below the rounded":       {required: 5 * mib, limit: 6 * mib, err: pool.ErrOutOfRange},
		"required above limit":          {required: 2, limit: 1, err: pool.ErrOutOfRange},
		"above the largest":             {required: maxVolume + 1, err: pool.ErrOutOfRange},
		"largest int64 does not wrap":   {required: 1<<63 - 1, err: pool.ErrOutOfRange},
		"the largest volume is allowed": {required: maxVolume, size: maxVolume},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, _ := newPool(t)
			v, err := p.CreateVolume(t.Context(), pool.Create{Name: "a", Required: tt.required, Limit: tt.limit, Serial: serial})
			if !errors.Is(err, tt.err) || v.Size != tt.size {
				t.Errorf("got %d, %v; want %d, %v", v.Size, err, tt.size, tt.err)
			}
		})
	}
}

func TestCloneSizes(t *testing.T) {
	p, _ := newPool(t)
	ctx := t.Context()
	must[pool.Volume](t)(p.CreateVolume(ctx, create("src", 16*mib)))
	from := pool.Source{Kind: pool.FromVolume, Name: "src"}
	for name, tt := range map[string]struct {
		required, limit, size int64
		err                   error
	}{
		"same":   {size: 16 * mib},
		"less":   {required: mib, size: 16 * mib},
		"more":   {required: 17 * mib, size: 20 * mib},
		"cannot": {required: mib, limit: 8 * mib, err: pool.ErrOutOfRange},
	} {
		v, err := p.CreateVolume(ctx, pool.Create{Name: name, Required: tt.required, Limit: tt.limit, Source: from, Serial: serial})
		if !errors.Is(err, tt.err) || v.Size != tt.size {
			t.Errorf("%s: got %d, %v; want %d, %v", name, v.Size, err, tt.size, tt.err)
		}
	}
}

// TestCloneCutOff: at whatever step a larger clone fails, it is not shown, and a retry or a restart finishes it.
func TestCloneCutOff(t *testing.T) {
	for _, program := range []string{"lvextend", "lvchange"} {
		t.Run(program, func(t *testing.T) {
			p, f := newPool(t)
			ctx := t.Context()
			must[pool.Volume](t)(p.CreateVolume(ctx, create("src", 16*mib)))
			req := pool.Create{Name: "c", Required: 32 * mib, Serial: strings.Repeat("c", 25), Source: pool.Source{Kind: pool.FromVolume, Name: "src"}}
			f.fail[program] = errKilled
			if _, err := p.CreateVolume(ctx, req); !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if volumes := must[[]pool.Volume](t)(p.Volumes(ctx)); len(volumes) != 1 {
				t.Errorf("an unfinished clone is shown: %v", volumes)
			}
			wantErr(t, p.Activate(ctx, "c"), pool.ErrNotFound)
			delete(f.fail, program)
			restarted := NewGroup(f, "vg").Pool(p.cfg)
			if err := restarted.Recover(ctx); err != nil {
				t.Fatal(err)
			}
			if v := must[pool.Volume](t)(p.CreateVolume(ctx, req)); v.Size != 32*mib || f.lvs["pbv_c"].size != 32*mib {
				t.Errorf("finished with %d bytes", v.Size)
			}
			if len(f.lvs) != 2 {
				t.Errorf("LVs: %v", f.lvs)
			}
		})
	}
}

func TestFull(t *testing.T) {
	for name, tt := range map[string]struct{ field, value, words string }{
		"data":        {"data_percent", "95.00", "lvextend -L"},
		"metadata":    {"metadata_percent", "90.00", "--poolmetadatasize"},
		"vg metadata": {"vg_mda_free", "3000000", "--metadatasize"},
		"health":      {"lv_health_status", "out_of_data", "out_of_data"},
	} {
		t.Run(name, func(t *testing.T) {
			p, f := newPool(t)
			ctx := t.Context()
			now := time.Now()
			p.now = func() time.Time { return now }
			must[pool.Volume](t)(p.CreateVolume(ctx, create("a", mib)))
			f.status[tt.field] = tt.value
			now = now.Add(2 * usageAge)
			_, err := p.CreateVolume(ctx, create("b", mib))
			wantErr(t, err, pool.ErrExhausted, tt.words)
			if u := must[pool.Usage](t)(p.Usage(ctx)); u.MaxVolume != 0 {
				t.Errorf("a full pool tells of room: %+v", u)
			}
			_, err = p.CreateSnapshot(ctx, "s", "a")
			wantErr(t, err, pool.ErrExhausted)
			_, err = p.ExpandVolume(ctx, "a", gib, 0)
			wantErr(t, err, pool.ErrExhausted)
			wantErr(t, p.Check(ctx), pool.ErrExhausted)
			if err := p.DeleteVolume(ctx, "a"); err != nil {
				t.Errorf("a full pool must let go: %v", err)
			}
		})
	}
}

func TestOvercommit(t *testing.T) {
	p, _ := newPool(t)
	p.cfg.Limits.Overcommit = 2
	ctx := t.Context()
	must[pool.Volume](t)(p.CreateVolume(ctx, create("a", 5*gib)))
	_, err := p.CreateVolume(ctx, create("b", 2*gib))
	wantErr(t, err, pool.ErrExhausted, "overcommit")
	if u := must[pool.Usage](t)(p.Usage(ctx)); u.MaxVolume != gib || u.Provisioned != 5*gib {
		t.Errorf("usage %+v", u)
	}
	must[pool.Volume](t)(p.CreateVolume(ctx, create("b", gib)))
}

func TestExpand(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	must[pool.Volume](t)(p.CreateVolume(ctx, create("a", 8*mib)))
	if v := must[pool.Volume](t)(p.ExpandVolume(ctx, "a", 9*mib, 0)); v.Size != 12*mib {
		t.Errorf("grown to %d", v.Size)
	}
	calls := len(f.calls)
	if v := must[pool.Volume](t)(p.ExpandVolume(ctx, "a", mib, 0)); v.Size != 12*mib || len(f.calls) != calls {
		t.Errorf("shrunk to %d", v.Size)
	}
	_, err := p.ExpandVolume(ctx, "a", mib, 8*mib)
	wantErr(t, err, pool.ErrOutOfRange)
	_, err = p.ExpandVolume(ctx, "none", mib, 0)
	wantErr(t, err, pool.ErrNotFound)
}

func TestSnapshot(t *testing.T) {
	p, _ := newPool(t)
	ctx := t.Context()
	must[pool.Volume](t)(p.CreateVolume(ctx, create("a", 8*mib)))
	must[pool.Volume](t)(p.CreateVolume(ctx, create("b", 8*mib)))
	must[pool.Snapshot](t)(p.CreateSnapshot(ctx, "s", "a"))
	_, err := p.CreateSnapshot(ctx, "s", "b")
	wantErr(t, err, pool.ErrExists, "volume a")
	_, err = p.CreateSnapshot(ctx, "x", "none")
	wantErr(t, err, pool.ErrNotFound)
	if err := p.DeleteVolume(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if s := must[pool.Snapshot](t)(p.CreateSnapshot(ctx, "s", "a")); s.Source != "a" || s.Size != 8*mib {
		t.Errorf("snapshot of a deleted volume: %+v", s)
	}
	for range 2 {
		if err := p.DeleteSnapshot(ctx, "s"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesTaken(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	f.lvs["pbv_theirs"] = &fakeLV{size: 4 * mib, tags: []string{"portbind"}}
	other := p.group.Pool(Config{Name: "slow", ThinPool: "pool2", Limits: p.cfg.Limits})
	must[pool.Volume](t)(other.CreateVolume(ctx, create("a", mib)))
	_, err := p.CreateVolume(ctx, create("theirs", mib))
	wantErr(t, err, pool.ErrExists, "not ours")
	_, err = p.CreateVolume(ctx, create("a", mib))
	wantErr(t, err, pool.ErrExists, "pool slow")
	if err := errors.Join(p.DeleteVolume(ctx, "theirs"), p.DeleteVolume(ctx, "a"), p.Deactivate(ctx, "theirs")); err != nil {
		t.Error(err)
	}
	if len(f.lvs) != 2 {
		t.Error("something that is not of this pool was removed")
	}
	_, err = p.CreateVolume(ctx, create("a"+strings.Repeat("-", 61)+"a", mib))
	wantErr(t, err, pool.ErrInvalid, "hyphens")
}

func TestRecover(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	must[pool.Volume](t)(p.CreateVolume(ctx, create("a", mib)))
	f.status["lv_active"] = ""
	f.suspend["pbv_a"], f.suspend["root"] = true, true
	f.calls = nil
	if err := p.Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if f.suspend["pbv_a"] || !f.suspend["root"] {
		t.Errorf("suspended now: %v", f.suspend)
	}
	f.status["zero"] = ""
	p.usage.at = time.Time{}
	wantErr(t, p.Recover(ctx), pool.ErrInvalid, "--zero y")
}

// TestSomebodyElseWasFaster: a command of a killed predecessor was still at work when LVs were listed.
func TestSomebodyElseWasFaster(t *testing.T) {
	p, f := newPool(t)
	ctx := t.Context()
	must[pool.Volume](t)(p.CreateVolume(ctx, create("a", mib)))
	other := NewGroup(f, "vg").Pool(p.cfg)
	made := must[pool.Volume](t)(other.CreateVolume(ctx, create("b", mib)))
	must[pool.Volume](t)(other.ExpandVolume(ctx, "a", 8*mib, 0))
	must[pool.Snapshot](t)(other.CreateSnapshot(ctx, "s", "a"))
	if v := must[pool.Volume](t)(p.CreateVolume(ctx, pool.Create{Name: "b", Serial: "other"})); v.Serial != made.Serial {
		t.Errorf("created %+v", v)
	}
	p.group.known = &listing{ours: map[string]lv{"pbv_a": {
		lv: "pbv_a", kind: volumeKind, pool: "fast", name: "a", size: 4 * mib, serial: serial,
	}}}
	if v := must[pool.Volume](t)(p.ExpandVolume(ctx, "a", 8*mib, 0)); v.Size != 8*mib {
		t.Errorf("expanded to %d", v.Size)
	}
	delete(p.group.known.ours, "pbs_s")
	must[pool.Snapshot](t)(p.CreateSnapshot(ctx, "s", "a"))
}

// TestChangesOutliveTheirCaller: a killed LVM command leaves devices suspended.
func TestChangesOutliveTheirCaller(t *testing.T) {
	p, f := newPool(t)
	ctx, cancel := context.WithCancel(t.Context())
	must[pool.Volume](t)(p.CreateVolume(ctx, create("a", mib)))
	l := p.group.lvm
	cancel()
	if err := l.extend(ctx, "pbv_a", 8*mib); err != nil || f.lvs["pbv_a"].size != 8*mib {
		t.Errorf("extended to %d: %v", f.lvs["pbv_a"].size, err)
	}
	if _, err := p.CreateVolume(ctx, create("b", mib)); !errors.Is(err, context.Canceled) {
		t.Errorf("begun after the end of the context: %v", err)
	}
}

func TestReports(t *testing.T) {
	data, err := os.ReadFile("testdata/lvs.json")
	if err != nil {
		t.Fatal(err)
	}
	l := must[listing](t)(parseListing(data))
	if diff := cmp.Diff(map[string]bool{"pool": true, "root": true, "pbv_foreign": true}, l.foreign); diff != "" {
		t.Errorf("foreign (-want +got):\n%s", diff)
	}
	if got := l.ours["pbv_clone"]; got.grow != 13958643712 || got.source != (pool.Source{Kind: pool.FromSnapshot, Name: "s1"}) {
		t.Errorf("clone %+v", got)
	}
	data, err = os.ReadFile("testdata/pool.json")
	if err != nil {
		t.Fatal(err)
	}
	s := must[status](t)(parseStatus(data))
	if s.data != 0.125 || s.size != 3<<30 || !s.active || !s.zeroing || s.vgMetadata > 0.001 {
		t.Errorf("status %+v", s)
	}
}

func TestClassify(t *testing.T) {
	for stderr, want := range map[string]error{
		"Cannot create new thin volume, free space in thin pool vg0/pool reached threshold.": pool.ErrExhausted,
		"Failed to find logical volume \"vg0/pbv_a\"":                                        pool.ErrNotFound,
		"Snapshot origin LV pbs_s1 not found in Volume group vg0.":                           pool.ErrNotFound,
		"Logical volume vg0/pbv_a in use.":                                                   pool.ErrInUse,
		"Logical Volume \"pbv_a\" already exists in volume group \"vg0\"":                    pool.ErrExists,
		"Insufficient free space: 1 extents needed, but only 0 available":                    pool.ErrExhausted,
	} {
		if err := classify(failure(stderr)); !errors.Is(err, want) {
			t.Errorf("%q gives %v, want %v", stderr, err, want)
		}
	}
	missing := classify(&hostexec.Error{Name: "lvs", ExitCode: -1, Err: os.ErrNotExist})
	if missing == nil {
		t.Error("a missing program is no error")
	}
}

func FuzzParseListing(f *testing.F) {
	data, err := os.ReadFile("testdata/lvs.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"report":[{"lv":[{"lv_name":"pbv_","lv_size":"1","lv_tags":"portbind,portbind.kind=volume"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseListing(data)
		if err != nil {
			return
		}
		for name, v := range l.ours {
			if v.lv != name || v.size <= 0 || v.name == "" || (v.kind == volumeKind) == (v.lv == snapshotLV(v.name)) {
				t.Errorf("accepted %+v", v)
			}
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	data, err := os.ReadFile("testdata/pool.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseStatus(data)
		if err == nil && (s.data < 0 || s.data > 1 || s.metadata < 0 || s.metadata > 1 || s.extent <= 0) {
			t.Errorf("accepted %+v", s)
		}
	})
}
