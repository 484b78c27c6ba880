//go:build lab

package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/portbind/portbind/test/lab/labenv"
)

const bareTarget = "iqn.2026-11.io.portbind.lab:bare"

// TestBareSequence shows that the yardstick itself works on a target that the product knows nothing of.
func TestBareSequence(t *testing.T) {
	e := labenv.New(t, labenv.Options{})
	wwid := e.RawTarget(bareTarget).AddLUN(3, 64<<20)
	e.StartInitiator(labenv.InitiatorOptions{MultipathConf: "defaults {\n user_friendly_names no\n find_multipaths no\n}\n", ConfD: map[string]string{}})
	b := newBare(e, bareTarget, 3, wwid)
	b.login(labenv.InitiatorName(), e.Net.NICs, e.Net.Portals)
	mnt := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	b.attach("")
	e.Run("mkfs.ext4", "-q", "/dev/mapper/"+wwid)
	b.detach("")
	var phases phaseSamples
	for range 3 {
		quiet(e)
		w := b.attach(mnt)
		phases.add(w.phases)
		t.Log("attach", w.total(), w.phases)
		w = b.detach(mnt)
		t.Log("detach", w.total(), w.phases)
	}
	t.Log(phases.text())
	b.logout()
}
