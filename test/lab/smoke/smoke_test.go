//go:build lab

// Package smoke shows that the lab itself works: four bound paths to one LUN, a link cut under verified writes, and
// nothing left over.
package smoke

import (
	"testing"
	"time"

	"github.com/portbind/portbind/test/lab/labenv"
)

const iqn = "iqn.2026-11.io.portbind.lab:smoke"

// multipathConf takes any LUN: the raw target's is not one of the project's own.
const multipathConf = `defaults {
	user_friendly_names no
	find_multipaths no
	polling_interval 1
	path_grouping_policy multibus
	no_path_retry 30
}
`

func TestLinkCutUnderWrites(t *testing.T) {
	labenv.Require(t, labenv.ISCSI, labenv.LIO, labenv.DMMultipath)
	e := labenv.New(t, labenv.Options{})
	target := e.RawTarget(iqn)
	wwid := target.AddLUN(0, 256<<20)
	e.StartInitiator(labenv.InitiatorOptions{MultipathConf: multipathConf, ConfD: map[string]string{}})
	login(e)
	device := "/dev/mapper/" + wwid
	e.Eventually(20*time.Second, "map with four paths", func() bool { return len(labenv.MapPaths(wwid)) == 4 && exists(device) })

	_, before0 := e.Bytes("san0")
	_, before1 := e.Bytes("san1")
	fio := e.Fio(device, labenv.FioOptions{})
	e.Eventually(20*time.Second, "both NICs carry I/O", func() bool {
		_, now0 := e.Bytes("san0")
		_, now1 := e.Bytes("san1")
		return now0-before0 > 1<<20 && now1-before1 > 1<<20
	})
	e.LinkDown("san0")
	time.Sleep(20 * time.Second)
	e.LinkUp("san0")
	back := e.Eventually(20*time.Second, "all sessions back", func() bool { return loggedIn() == 4 })
	r := fio.Stop()
	t.Logf("%d MiB written, %d errors, longest stall %v; sessions back after %v", r.WrittenBytes>>20, r.Errors, r.Stall, back)
	if r.Errors > 0 {
		t.Errorf("fio saw errors:\n%s", r.Output)
	}
	if r.Stall < 100*time.Millisecond {
		t.Error("the link cut was not felt at all: it did not happen")
	}
}

// TestSilentDrop also shows that a second test in the same guest finds it clean.
func TestSilentDrop(t *testing.T) {
	labenv.Require(t, labenv.NetEm)
	e := labenv.New(t, labenv.Options{})
	wwid := e.RawTarget(iqn).AddLUN(7, 64<<20)
	e.StartInitiator(labenv.InitiatorOptions{MultipathConf: multipathConf, ConfD: map[string]string{}})
	login(e)
	device := "/dev/mapper/" + wwid
	e.Eventually(20*time.Second, "map with four paths", func() bool { return len(labenv.MapPaths(wwid)) == 4 && exists(device) })
	w := e.Writer(device)
	e.Drop("san1")
	time.Sleep(5 * time.Second)
	e.Undrop("san1")
	e.Eventually(time.Minute, "writes go on", func() bool { return time.Since(w.Result().Last) < 20*time.Millisecond })
	r := w.Stop(30 * time.Second)
	t.Logf("%d writes acknowledged, longest stall %v", r.Acked, r.Stall)
	if r.Err != nil {
		t.Error(r.Err)
	}
	if err := w.Verify(device); err != nil {
		t.Error(err)
	}
}
