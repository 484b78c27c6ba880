//go:build lab

package attach

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/test/lab/labenv"
)

// TestLife is a volume's way through the node: attached, attached again, seen, adopted, detached, sessions gone.
func TestLife(t *testing.T) {
	w := newWorld(t, 1)
	a := w.attacher(func(c *attach.Config) { c.Grace = 2 * time.Second })
	start := time.Now()
	dev := w.attach(a, w.spec(0))
	t.Logf("cold attach %s: %+v", ms(time.Since(start)), dev)
	w.wantActive(dev, 4)
	if err := w.read(dev.Path); err != nil {
		t.Fatal(err)
	}
	if again := w.attach(a, w.spec(0)); again.Major != dev.Major || again.Minor != dev.Minor {
		t.Errorf("attached again: %+v, was %+v", again, dev)
	}
	t.Logf("adopted after another %s", ms(w.adopted(dev.WWID, 4)))
	w.settle()
	check(t, os.WriteFile(filepath.Join(w.Artefacts, "maps.json"), []byte(w.Multipathd("show maps json")), 0o600))
	seen, err := a.Inspect(t.Context(), dev.WWID)
	if err != nil {
		t.Fatal(err)
	}
	w.wantActive(seen, 4)
	if _, err := a.Heal(t.Context(), []attach.Spec{w.spec(0)}); err != nil {
		t.Error(err)
	}
	start = time.Now()
	w.detach(a, dev.WWID)
	t.Logf("detach %s", ms(time.Since(start)))
	w.gone(dev.WWID)
	if n := len(labenv.Sessions()); n != 4 {
		t.Errorf("%d sessions after detach, want 4 within the grace time", n)
	}
	w.detach(a, dev.WWID)
	if _, err := a.Inspect(t.Context(), dev.WWID); !errors.Is(err, attach.ErrNotFound) {
		t.Errorf("inspect of what is detached: %v", err)
	}
	w.Eventually(10*time.Second, "sessions without disks are closed", func() bool { return len(labenv.Sessions()) == 0 })
}
