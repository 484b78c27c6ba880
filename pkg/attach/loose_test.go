package attach

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/portbind/portbind/pkg/sysfs"
)

// TestLoose: who looks for disks waits for the removals that had begun by then, and for no others.
func TestLoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l loose
		if err := l.settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		one, two := l.add(), l.add()
		settled := make(chan error, 1)
		go func() { settled <- l.settle(t.Context()) }()
		synctest.Wait()
		defer l.add()()
		one()
		synctest.Wait()
		select {
		case err := <-settled:
			t.Fatal("settled before the second was seen:", err)
		default:
		}
		two()
		if err := <-settled; err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.settle(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestPinsHold: a disk that cannot be opened, or is another by now, leaves its name loose.
func TestPinsHold(t *testing.T) {
	dev := t.TempDir()
	if err := os.WriteFile(filepath.Join(dev, "sdb"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := &Attacher{sys: sysfs.FS(t.TempDir()), cfg: Config{Dev: dev}}
	for name, disks := range map[string][]sysfs.Disk{
		"offline": {{Name: "sdx", Major: 8, Minor: 16}},
		"another": {{Name: "sdb", Major: 8, Minor: 16}},
	} {
		if p := a.pin(disks); p.hold() {
			t.Errorf("%s: the name is held", name)
		}
	}
	if !a.pin(nil).hold() {
		t.Error("no disk, and a name is loose")
	}
}
