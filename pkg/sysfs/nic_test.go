package sysfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNIC(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "class", "net", "san0")
	must(t, os.MkdirAll(filepath.Join(dir, "statistics"), 0o755))
	files := map[string]string{
		"carrier": "1\n", "operstate": "up\n", "mtu": "9000\n", "speed": "-1\n", "carrier_down_count": "3\n",
		"statistics/rx_bytes": "123\n", "statistics/tx_bytes": "18446744073709551615\n",
	}
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	got, err := FS(root).NIC("san0")
	must(t, err)
	flaps := 3
	want := NIC{Name: "san0", Carrier: true, OperState: "up", MTU: 9000, RxBytes: 123, TxBytes: 1<<64 - 1, Flaps: &flaps}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"", "..", ".", "a/b", "eth9"} {
		if _, err := FS(root).NIC(name); !errors.Is(err, ErrGone) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
