//go:build lab

package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	mib      = 1 << 20
	allPaths = 4
)

// bed is a running stack and a place to mount by hand.
type bed struct {
	*labenv.Stack
	mnt string
	dm  *multipath.DM
}

func newBed(t *testing.T, o labenv.StackOptions) *bed {
	t.Helper()
	b := &bed{Stack: labenv.NewStack(t, o), mnt: filepath.Join(t.TempDir(), "mnt"), dm: multipath.NewDM("/dev")}
	check(t, os.Mkdir(b.mnt, 0o755))
	return b
}

// linger says how long the node keeps sessions that nobody uses.
func linger(d string) labenv.StackOptions {
	return labenv.StackOptions{Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": d}}}
}

// volume is a formatted volume, mapped to the node and not staged.
type volume struct {
	*labenv.Volume
	b  *bed
	id string // as multipathd writes the WWID
}

func (b *bed) create(name string, params map[string]string) *volume {
	b.T.Helper()
	v := &volume{Volume: b.Create(name, 64*mib, labenv.MountExt4, params), b: b}
	id, ok := multipath.ID(v.WWID())
	if !ok {
		b.T.Fatalf("volume context has WWID %q", v.WWID())
	}
	v.id = id
	return v
}

// formatted makes a volume and stages it once: benchmarks attach what has a file system already.
func (b *bed) formatted(name string, params map[string]string) *volume {
	b.T.Helper()
	v := b.create(name, params)
	v.call(v.ControllerPublish)
	v.call(v.Stage)
	v.call(v.Unstage)
	return v
}

// call makes a call that must succeed and returns how long it took.
func (v *volume) call(f func(context.Context) error) time.Duration {
	v.b.T.Helper()
	ctx, cancel := v.b.Context(3 * time.Minute)
	defer cancel()
	start := time.Now()
	if err := f(ctx); err != nil {
		v.b.T.Fatalf("%s: %v", v.VolumeId, err)
	}
	return time.Since(start)
}

func (v *volume) delete() {
	v.b.T.Helper()
	v.call(v.ControllerUnpublish)
	v.call(v.Delete)
}

// lun is the volume's number on the target.
func (v *volume) lun() int {
	v.b.T.Helper()
	var lun int
	if _, err := fmt.Sscan(v.PublishContext["lun"], &lun); err != nil {
		v.b.T.Fatalf("publish context %v: %v", v.PublishContext, err)
	}
	return lun
}

// bare does by hand what the node does for this volume.
func (v *volume) bare() *bare {
	return newBare(v.b.Env, v.VolumeContext["iqn"], v.lun(), v.id)
}

// quiet waits until udev and multipathd have digested what was done before, so that no measurement pays for the last one.
func (b *bed) quiet() {
	b.T.Helper()
	quiet(b.Env)
}

func quiet(e *labenv.Env) {
	e.T.Helper()
	mpd := multipath.NewClient()
	// udevd's queue is empty without this file (udevadm settle looks at it, too); with many volumes it takes minutes.
	waitFor(e.T, 20*time.Minute, "udevd and multipathd to be idle", func() bool {
		busy, err := mpd.Busy(context.Background())
		return err == nil && !busy && !exists("/run/udev/queue")
	})
}

// noSessions waits until the node has logged out of what it does not use.
func (b *bed) noSessions() {
	b.T.Helper()
	waitFor(b.T, 30*time.Second, "unused sessions to log out", func() bool { return len(labenv.Sessions()) == 0 })
}

func (b *bed) finish() {
	b.T.Helper()
	b.noSessions()
	waitFor(b.T, time.Minute, "the target to forget the initiator", func() bool {
		acls, _ := filepath.Glob("/sys/kernel/config/target/iscsi/iqn.*/tpgt_1/acls/*")
		return len(acls) == 0
	})
	b.Clean(b.T)
}
