//go:build lab

package shapes

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const mib = 1 << 20

func newStack(t *testing.T, o labenv.Options) *labenv.Stack {
	t.Helper()
	return labenv.NewStack(t, labenv.StackOptions{Net: o, Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}}})
}

// use writes to a volume that is up, and wants that many paths, each with its own pair of NIC and portal, and every NIC at work.
func use(s *labenv.Stack, v *labenv.Volume, paths int) {
	s.T.Helper()
	active := func() (n int) {
		states, _ := multipath.NewDM("/dev").PathStates(multipath.UUID(v.Map()))
		for _, p := range states {
			if p.Active {
				n++
			}
		}
		return n
	}
	if n := active(); n != paths {
		s.T.Errorf("the volume is staged with %d paths, expected %d", n, paths)
	}
	pairs := map[string]bool{}
	for _, x := range labenv.Sessions() {
		pairs[x.NIC+" "+x.Portal] = x.State == "LOGGED_IN"
	}
	if len(pairs) != paths {
		s.T.Errorf("%d pairs of NIC and portal, expected %d: %v", len(pairs), paths, pairs)
	}
	before := map[string]uint64{}
	for _, nic := range s.Net.NICs {
		_, before[nic] = s.Bytes(nic)
	}
	fio := s.Fio(v.TargetPath, labenv.FioOptions{Size: "16M"})
	s.Eventually(time.Minute, "every NIC to carry I/O", func() bool {
		for nic, was := range before {
			if _, now := s.Bytes(nic); now-was < mib {
				return false
			}
		}
		_, verified := fio.IO()
		return verified > mib
	})
	if r := fio.Stop(); r.Errors > 0 {
		s.T.Errorf("fio: %+v", r)
	}
}

// TestSixteenPaths is four NICs by four portals in one subnet.
func TestSixteenPaths(t *testing.T) {
	s := newStack(t, labenv.Options{NICs: 4, Portals: 4})
	v := s.Create("sixteen", 64*mib, labenv.MountExt4, nil)
	start := time.Now()
	v.Up()
	t.Log("up after", time.Since(start))
	use(s, v, 16)
	v.Down()
	s.Tidy()
}

// TestOnePath is a node without a spare: the map has one path, and the volume works.
func TestOnePath(t *testing.T) {
	s := newStack(t, labenv.Options{NICs: 1, Portals: 1})
	v := s.Create("one", 64*mib, labenv.MountExt4, nil)
	v.Up()
	use(s, v, 1)
	v.Down()
	s.Tidy()
}

// TestIPv6 is two NICs and two portals that have IPv6 addresses only, in one subnet.
func TestIPv6(t *testing.T) {
	const iqn = "iqn.2001-05.com.example:six"
	s := newStack(t, labenv.Options{})
	for i, nic := range s.Net.NICs {
		s.Run("ip", "addr", "flush", "dev", nic)
		s.Run("ip", "addr", "add", fmt.Sprintf("2001:db8::%d/64", 10+i), "dev", nic, "nodad")
	}
	s.InTarget("ip", "addr", "add", "2001:db8::1/64", "dev", "br0", "nodad")
	s.InTarget("ip", "addr", "add", "2001:db8::2/64", "dev", "br0", "nodad")
	raw := s.RawTargetGroups(iqn, []string{"[2001:db8::1]", "[2001:db8::2]"})[0]
	v := s.Adopt(&csi.Volume{VolumeId: "static/six", VolumeContext: map[string]string{
		"iqn": iqn, "portals": "[2001:db8::1]:3260,2001:db8::2", "lun": "1", "interfaces": "san-a,san-b",
		"wwid": "naa." + strings.TrimPrefix(raw.AddLUN(1, 64*mib), "3"),
	}}, labenv.MountExt4)
	v.Up()
	use(s, v, 4)
	ctx, cancel := s.Context(time.Minute)
	defer cancel()
	for _, step := range []func(context.Context) error{v.Unpublish, v.Unstage, v.ControllerUnpublish} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.Tidy()
}
