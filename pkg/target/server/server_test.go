package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/pool"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

func vol(name string) *targetv1.VolumeKey   { return &targetv1.VolumeKey{Pool: "fast", Name: name} }
func snp(name string) *targetv1.SnapshotKey { return &targetv1.SnapshotKey{Pool: "fast", Name: name} }

func want(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	got := toStatus(err)
	if status.Code(got) != code {
		t.Errorf("got %v, want %v", got, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(got.Error(), w) {
			t.Errorf("%q is not in: %v", w, got)
		}
	}
}

func (r *rig) create(name string) *targetv1.Volume {
	r.t.Helper()
	v, err := r.CreateVolume(r.t.Context(), &targetv1.CreateVolumeRequest{Key: vol(name)})
	want(r.t, err, codes.OK)
	return v
}

func (r *rig) publish(req *targetv1.PublishRequest) uint32 {
	r.t.Helper()
	resp, err := r.Publish(r.t.Context(), req)
	want(r.t, err, codes.OK)
	return resp.GetLun()
}

func (r *rig) unpublish(name, initiator string) {
	r.t.Helper()
	_, err := r.Unpublish(r.t.Context(), &targetv1.UnpublishRequest{Key: vol(name), Initiator: initiator})
	want(r.t, err, codes.OK)
}

// exported lists what is in the kernel below the target.
func (r *rig) exported() []string {
	r.t.Helper()
	prefix := "iscsi/" + iqn
	var out []string
	for _, o := range append(r.tree.Objects(prefix), r.tree.Objects("core")...) {
		if o != prefix && o != "core/iblock_1618" && !strings.Contains(o, "/np/") {
			out = append(out, strings.TrimPrefix(o, prefix+"/tpgt_1/"))
		}
	}
	return out
}

func TestInvalid(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.create("v")
	for _, hostile := range []string{"", "../x", "a/b", "-x", "x-", "A", "a\nb", "a,b", strings.Repeat("a", 64), strings.Repeat("a", 10240), "a\x00", "ü"} {
		_, err := r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: vol(hostile)})
		want(t, err, codes.InvalidArgument, "key.name")
		_, err = r.DeleteVolume(ctx, &targetv1.DeleteVolumeRequest{Key: &targetv1.VolumeKey{Pool: hostile, Name: "x"}})
		want(t, err, codes.InvalidArgument, "key.pool")
		_, err = r.GetSnapshot(ctx, &targetv1.GetSnapshotRequest{Key: snp(hostile)})
		want(t, err, codes.InvalidArgument, "key.name")
		_, err = r.Publish(ctx, &targetv1.PublishRequest{Key: vol("v"), Initiator: "iqn.2026-11.io.example:" + hostile + "/"})
		want(t, err, codes.InvalidArgument, "initiator")
	}
	for _, initiator := range []string{"", "x", "eui.0123456789abcdef", "iqn.2026-11.io.example:A", "iqn.2026-11.io.example:a\n", "iqn.2026-13.io:x", "iqn.2026-11.io/../../x"} {
		_, err := r.Publish(ctx, &targetv1.PublishRequest{Key: vol("v"), Initiator: initiator})
		want(t, err, codes.InvalidArgument, "initiator")
	}
	_, err := r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: vol("x"), RequiredBytes: 1 << 63})
	want(t, err, codes.InvalidArgument, "required_bytes")
	_, err = r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: vol("x"), LimitBytes: 1 << 63})
	want(t, err, codes.InvalidArgument, "limit_bytes")
	_, err = r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: vol("x"), SourceSnapshot: snp("s"), SourceVolume: vol("v")})
	want(t, err, codes.InvalidArgument, "source_volume")
	_, err = r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: vol("x"), SourceVolume: &targetv1.VolumeKey{Pool: "slow", Name: "v"}})
	want(t, err, codes.InvalidArgument, "source_volume.pool")
	_, err = r.CreateSnapshot(ctx, &targetv1.CreateSnapshotRequest{Key: snp("s"), Source: &targetv1.VolumeKey{Pool: "slow", Name: "v"}})
	want(t, err, codes.InvalidArgument, "key.pool")
	_, err = r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: &targetv1.VolumeKey{Pool: "none", Name: "v"}})
	want(t, err, codes.NotFound, "none")
	_, err = r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{})
	want(t, err, codes.InvalidArgument, "key.pool")
	if objects := r.exported(); len(objects) > 0 || len(r.pool.volumes) != 1 {
		t.Errorf("something was made: %v", objects)
	}
}

func TestInvalidCHAP(t *testing.T) {
	r := newRig(t)
	r.create("v")
	for field, c := range map[string]*targetv1.Chap{
		"chap.user":          {Secret: "long-enough-secret"},
		"chap.secret":        {User: "a", Secret: "short"},
		"chap.secret ":       {User: "a", Secret: "long-enough\nsecret"},
		"chap.secret  ":      {User: "a", Secret: "NULL-enough-secret"},
		"chap.target_user":   {User: "a", Secret: "long-enough-secret", TargetSecret: "other-enough-secret"},
		"chap.target_secret": {User: "a", Secret: "long-enough-secret", TargetUser: "b", TargetSecret: "long-enough-secret"},
	} {
		_, err := r.Publish(t.Context(), &targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA, Chap: c})
		want(t, err, codes.InvalidArgument, strings.TrimSpace(field))
		if strings.Contains(fmt.Sprint(err), "enough") {
			t.Errorf("a secret is in the error: %v", err)
		}
	}
	r.cfg.CHAPRequired = true
	r.restart()
	_, err := r.Publish(t.Context(), &targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
	want(t, err, codes.InvalidArgument, "chap")
}

func TestPublish(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	v := r.create("v")
	r.create("w")
	if len(v.GetWwid()) != 36 {
		t.Errorf("WWID %q", v.GetWwid())
	}
	if a, b, again := r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA}), r.publish(&targetv1.PublishRequest{Key: vol("w"), Initiator: nodeA}),
		r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA}); a != 1 || b != 2 || again != 1 {
		t.Errorf("LUNs %d, %d, %d", a, b, again)
	}
	_, err := r.Publish(ctx, &targetv1.PublishRequest{Key: vol("v"), Initiator: nodeB})
	want(t, err, codes.FailedPrecondition, nodeA)
	_, err = r.Publish(ctx, &targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA, ReadOnly: true})
	want(t, err, codes.AlreadyExists, "read_only")
	_, err = r.Publish(ctx, &targetv1.PublishRequest{Key: vol("none"), Initiator: nodeA})
	want(t, err, codes.NotFound, "fast/none")
	_, err = r.DeleteVolume(ctx, &targetv1.DeleteVolumeRequest{Key: vol("v")})
	want(t, err, codes.FailedPrecondition, nodeA)
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeB, Shared: true, ReadOnly: true})
	got, err := r.GetVolume(ctx, &targetv1.GetVolumeRequest{Key: vol("v")})
	want(t, err, codes.OK)
	if diff := cmp.Diff([]string{nodeA, nodeB}, got.GetInitiators()); diff != "" {
		t.Errorf("initiators (-want +got):\n%s", diff)
	}
	r.unpublish("v", nodeA)
	r.unpublish("v", nodeA)
	if !r.pool.active["v"] {
		t.Error("the device went while another initiator has it")
	}
	r.unpublish("v", "")
	r.unpublish("w", "")
	if left := r.exported(); len(left) > 0 || len(r.pool.active) > 0 {
		t.Errorf("left over: %v, active %v", left, r.pool.active)
	}
}

func TestLUNsRunOut(t *testing.T) {
	r := newRig(t)
	for i := range lio.MaxLUNs {
		name := fmt.Sprintf("v%d", i)
		r.create(name)
		if got := r.publish(&targetv1.PublishRequest{Key: vol(name), Initiator: nodeA}); got != uint32(i)+lio.FirstLUN {
			t.Fatalf("LUN %d, want %d", got, i+lio.FirstLUN)
		}
	}
	r.create("more")
	_, err := r.Publish(t.Context(), &targetv1.PublishRequest{Key: vol("more"), Initiator: nodeA})
	want(t, err, codes.ResourceExhausted, nodeA)
	if got := r.publish(&targetv1.PublishRequest{Key: vol("more"), Initiator: nodeB}); got != lio.FirstLUN {
		t.Errorf("LUN %d of another initiator", got)
	}
}

func TestCredentialsHoldForAllVolumes(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.create("v")
	r.create("w")
	first := &targetv1.Chap{User: "alice", Secret: "first-secret-of-alice"}
	second := &targetv1.Chap{User: "alice", Secret: "second-secret-of-alice"}
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA, Chap: first})
	_, err := r.Publish(ctx, &targetv1.PublishRequest{Key: vol("w"), Initiator: nodeA, Chap: second})
	want(t, err, codes.FailedPrecondition, "credentials")
	_, err = r.Publish(ctx, &targetv1.PublishRequest{Key: vol("w"), Initiator: nodeA})
	want(t, err, codes.FailedPrecondition, "credentials")
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA, Chap: second})
	r.publish(&targetv1.PublishRequest{Key: vol("w"), Initiator: nodeA, Chap: second})
	if got, err := r.tree.Read("iscsi/" + iqn + "/tpgt_1/acls/" + nodeA + "/auth/password"); err != nil || got != second.GetSecret() {
		t.Errorf("the ACL's secret was not changed: %v", err)
	}
}

func TestRestore(t *testing.T) {
	r := newRig(t)
	chap := &targetv1.Chap{User: "alice", Secret: "secret-of-alice-1"}
	r.create("v")
	r.create("w")
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA, Chap: chap})
	r.publish(&targetv1.PublishRequest{Key: vol("w"), Initiator: nodeA, Chap: chap})
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeB, Shared: true, ReadOnly: true})
	r.unpublish("w", nodeA)
	before := r.exported()
	r.tree.Changes()
	r.restart()
	if changes := r.tree.Changes(); !onlyProbe(changes) {
		t.Errorf("a restart changes %v", changes)
	}
	r.tree.Reboot()
	clear(r.pool.active)
	r.restart()
	if diff := cmp.Diff(before, r.exported()); diff != "" {
		t.Errorf("after a reboot (-before +after):\n%s", diff)
	}
	changes := r.tree.Changes()
	if last := changes[len(changes)-1]; !strings.HasSuffix(last, "/enable = 1") {
		t.Errorf("the last change is %s", last)
	}
}

// onlyProbe says whether all that was done is the look at what ACLs can.
func onlyProbe(changes []string) bool {
	for _, c := range changes {
		if !strings.Contains(c, "portbind:probe") {
			return false
		}
	}
	return true
}

// TestUnpublishCutOff: at whatever step it fails, a restart or a repeated call finishes it, and a publish begins anew.
func TestUnpublishCutOff(t *testing.T) {
	steps := []string{"unlink iscsi", "rmdir iscsi/" + iqn + "/tpgt_1/acls/" + nodeA + "/lun_1", "unlink iscsi/" + iqn + "/tpgt_1/lun", "rmdir core"}
	for _, step := range steps {
		for name, again := range map[string]func(*rig){
			"restart":   func(r *rig) { r.restart() },
			"unpublish": func(r *rig) { r.unpublish("v", nodeA) },
			"publish": func(r *rig) {
				r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
				r.unpublish("v", "")
			},
		} {
			t.Run(step+", then "+name, func(t *testing.T) {
				r := newRig(t)
				r.create("v")
				r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
				r.tree.Refuse(step, unix.EIO)
				_, err := r.Unpublish(t.Context(), &targetv1.UnpublishRequest{Key: vol("v"), Initiator: nodeA})
				want(t, err, codes.Internal)
				r.tree.Refuse(step, nil)
				again(r)
				if left := r.exported(); len(left) > 0 || len(r.pool.active) > 0 || len(r.allExports()) > 0 {
					t.Errorf("left over: %v, active %v, recorded %v", left, r.pool.active, r.allExports())
				}
			})
		}
	}
}

// TestFailedRestore: one export that cannot be restored keeps nobody else from it, and is tried again.
func TestFailedRestore(t *testing.T) {
	r := newRig(t)
	r.create("v")
	r.create("w")
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
	r.publish(&targetv1.PublishRequest{Key: vol("w"), Initiator: nodeA})
	before := r.exported()
	lost := r.pool.volumes["v"]
	delete(r.pool.volumes, "v")
	r.tree.Reboot()
	r.restart()
	if n, failed := r.counts(); n != 2 || failed != 1 {
		t.Errorf("%d exports, %d failed", n, failed)
	}
	if enabled, err := r.tree.Read("iscsi/" + iqn + "/tpgt_1/enable"); err != nil || enabled != "1" {
		t.Errorf("enabled: %s, %v", enabled, err)
	}
	r.pool.volumes["v"] = lost
	r.retryFailed(t.Context())
	if diff := cmp.Diff(before, r.exported()); diff != "" {
		t.Errorf("after all (-before +after):\n%s", diff)
	}
	if _, failed := r.counts(); failed != 0 {
		t.Errorf("%d failed", failed)
	}
}

func TestRefusesToStart(t *testing.T) {
	r := newRig(t)
	r.create("v")
	r.publish(&targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
	r.cfg.IQN = "iqn.2026-11.io.example:other"
	if err := r.tryRestart(); err == nil || !strings.Contains(err.Error(), "unpublish all volumes") {
		t.Errorf("renamed with exports: %v", err)
	}
	r.cfg.IQN = iqn
	r.restart()
	r.unpublish("v", "")
	foreign := "iscsi/iqn.2026-11.io.example:other"
	if err := r.tree.Mkdir(foreign); err != nil {
		t.Fatal(err)
	}
	r.cfg.IQN = "iqn.2026-11.io.example:other"
	if err := r.tryRestart(); err == nil || !strings.Contains(err.Error(), "not made by this daemon") {
		t.Errorf("over a foreign target: %v", err)
	}
	if err := r.tree.Rmdir(foreign); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if old, err := r.tree.Exists("iscsi/" + iqn); old || err != nil {
		t.Errorf("the old target is there: %t, %v", old, err)
	}
	twin := r.pool.volumes["v"]
	twin.Name = "twin"
	r.pool.volumes["twin"] = twin
	if err := r.tryRestart(); err == nil || !strings.Contains(err.Error(), "same serial") {
		t.Errorf("with two volumes of one serial: %v", err)
	}
}

func TestPages(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	names := []string{"a", "a-b", "a.b", "b", "c"}
	for _, n := range names {
		r.create(n)
	}
	var got []string
	token := ""
	for {
		page, err := r.ListVolumes(ctx, &targetv1.ListVolumesRequest{MaxEntries: 2, Token: token})
		want(t, err, codes.OK)
		for _, v := range page.GetVolumes() {
			got = append(got, v.GetKey().GetName())
		}
		// What the token names may go meanwhile.
		if token = page.GetNextToken(); token == "" {
			break
		}
		delete(r.pool.volumes, strings.TrimPrefix(token, "fast/"))
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"x", "fast/", "../a/b", "fast/A"} {
		_, err := r.ListVolumes(ctx, &targetv1.ListVolumesRequest{Token: bad})
		want(t, err, codes.Aborted)
	}
	_, err := r.CreateSnapshot(ctx, &targetv1.CreateSnapshotRequest{Key: snp("s1"), Source: vol("a")})
	want(t, err, codes.OK)
	_, err = r.CreateSnapshot(ctx, &targetv1.CreateSnapshotRequest{Key: snp("s2"), Source: vol("c")})
	want(t, err, codes.OK)
	snaps, err := r.ListSnapshots(ctx, &targetv1.ListSnapshotsRequest{Source: vol("c")})
	want(t, err, codes.OK)
	if len(snaps.GetSnapshots()) != 1 || snaps.GetSnapshots()[0].GetKey().GetName() != "s2" {
		t.Errorf("snapshots of c: %v", snaps)
	}
}

// TestAtOnce: identical calls have one effect, different ones on the same volume find it busy, and a deadline does not
// stop what was begun.
func TestAtOnce(t *testing.T) {
	r := newRig(t)
	r.pool.hold, r.pool.began = make(chan struct{}), make(chan struct{}, 16)
	var g errgroup.Group
	for range 10 {
		g.Go(func() error {
			_, err := r.CreateVolume(t.Context(), &targetv1.CreateVolumeRequest{Key: vol("v")})
			return err
		})
	}
	<-r.pool.began
	_, err := r.CreateVolume(t.Context(), &targetv1.CreateVolumeRequest{Key: vol("v"), RequiredBytes: 5})
	want(t, err, codes.Aborted)
	_, err = r.DeleteVolume(t.Context(), &targetv1.DeleteVolumeRequest{Key: vol("v")})
	want(t, err, codes.Aborted, "fast/v")
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.CreateVolume(impatient, &targetv1.CreateVolumeRequest{Key: vol("v")})
	want(t, err, codes.Canceled)
	close(r.pool.hold)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if err := r.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	_, err = r.CreateVolume(t.Context(), &targetv1.CreateVolumeRequest{Key: vol("w")})
	want(t, err, codes.Unavailable)
}

func TestEveryErrorHasItsCode(t *testing.T) {
	for err, code := range map[error]codes.Code{
		pool.ErrNotFound: codes.NotFound, pool.ErrExists: codes.AlreadyExists, pool.ErrInvalid: codes.InvalidArgument,
		pool.ErrOutOfRange: codes.OutOfRange, pool.ErrExhausted: codes.ResourceExhausted, pool.ErrInUse: codes.FailedPrecondition,
		context.DeadlineExceeded: codes.DeadlineExceeded, context.Canceled: codes.Canceled, errors.New("x"): codes.Internal,
		lio.ErrUnsupported: codes.FailedPrecondition,
	} {
		want(t, fmt.Errorf("wrapped: %w", err), code)
	}
}

func FuzzValidate(f *testing.F) {
	f.Add("iqn.2026-11.io.example:node-1", "a.b-c")
	f.Add("iqn.2026-11.io/../x", "../x")
	f.Fuzz(func(t *testing.T, initiator, name string) {
		hostile := func(s string) bool {
			return strings.ContainsAny(s, "/\n\x00, ") || s == "" || s[0] == '-' || s[0] == '.'
		}
		if ValidIQN(initiator) && (hostile(initiator) || len(initiator) > maxIQN) {
			t.Errorf("accepted initiator %q", initiator)
		}
		if checkName("name", name) == nil && (hostile(name) || len(name) > maxName) {
			t.Errorf("accepted name %q", name)
		}
	})
}
