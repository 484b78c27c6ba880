package sysfs

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConnection(t *testing.T) {
	for _, c := range []struct{ name, near, far, local, remote string }{
		{"IPv4", "10.99.0.10", "10.99.0.1", "10.99.0.10:54696", "10.99.0.1:3260"},
		// The kernel writes IPv6 addresses in full (%pI6).
		{
			"IPv6", "fd00:0000:0000:0000:0000:0000:0000:0010", "fd00:0000:0000:0000:0000:0000:0000:0001",
			"[fd00::10]:54696", "[fd00::1]:3260",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := tree(t, "up.tree")
			must(t, os.WriteFile(f.path("devices/platform/host0/iscsi_host/host0/ipaddress"), []byte(c.near+"\n"), 0o600))
			const conn = "devices/platform/host0/session1/connection1:0/iscsi_connection/connection1:0"
			must(t, os.WriteFile(f.path(conn, "local_port"), []byte("54696\n"), 0o600))
			must(t, os.WriteFile(f.path(conn, "address"), []byte(c.far+"\n"), 0o600))
			got, err := f.Connection(1)
			must(t, err)
			want := Connection{Local: netip.MustParseAddrPort(c.local), Remote: netip.MustParseAddrPort(c.remote)}
			if diff := cmp.Diff(want, got, comparePortals); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNoConnection(t *testing.T) {
	if c, err := tree(t, "failed.tree").Connection(1); !errors.Is(err, ErrGone) {
		t.Errorf("a lost session: %v, %v", c, err)
	}
	if c, err := tree(t, "up.tree").Connection(99); !errors.Is(err, ErrGone) {
		t.Errorf("no session: %v, %v", c, err)
	}
}
