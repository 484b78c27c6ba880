//go:build lab

package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

// maxCreateExtra is what CreateVolume may take beyond LVM's own time.
const maxCreateExtra = 50 * time.Millisecond

// TestCreate makes and deletes volumes by CSI and by lvcreate and lvremove alone, in the same pool, by turns.
func TestCreate(t *testing.T) {
	b := newBed(t, labenv.StackOptions{})
	pool := b.Target.Pools[0]
	create, remove, export := &sides{}, &sides{}, &sides{}
	for i := range runs {
		b.quiet()
		start := time.Now()
		v := b.create(fmt.Sprintf("create-%d", i), nil)
		create.ours = append(create.ours, time.Since(start))
		b.quiet()
		export.ours = append(export.ours, v.call(v.ControllerPublish))
		export.bare = append(export.bare, v.call(v.ControllerUnpublish))
		b.quiet()
		remove.ours = append(remove.ours, v.call(v.Delete))
		b.quiet()
		create.bare = append(create.bare, timed(b, "lvcreate", "-q", "-y", "-V", "64m", "-T", pool.VG+"/"+pool.LV, "-n", "bare"))
		b.quiet()
		remove.bare = append(remove.bare, timed(b, "lvremove", "-q", "-y", pool.VG+"/bare"))
	}
	tab := &table{
		Title: "Create and delete a volume", Header: []string{"", "Portbind", "LVM alone", "difference"},
		Note: "CreateVolume and DeleteVolume (gRPC to the controller, mutual TLS to the daemon, LVM) against lvcreate -V -T and lvremove. Medians.",
	}
	tab.add("create", create.ours.median(), create.bare.median(), create.ours.median()-create.bare.median())
	tab.add("delete", remove.ours.median(), remove.bare.median(), remove.ours.median()-remove.bare.median())
	tab.add("ControllerPublishVolume", export.ours.median(), "", "")
	tab.add("ControllerUnpublishVolume", export.bare.median(), "", "")
	publish(t, tab)
	if extra := create.ours.median() - create.bare.median(); extra > maxCreateExtra {
		t.Errorf("CreateVolume takes %v more than lvcreate; goal: %v", extra, maxCreateExtra)
	}
	b.Clean(t)
}

func timed(b *bed, argv ...string) time.Duration {
	b.T.Helper()
	start := time.Now()
	b.Run(argv...)
	return time.Since(start)
}
