//go:build lab

package shapes

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	iqn = "iqn.2001-05.com.example:shapes"
	lun = 1
	mib = 1 << 20
)

func newStack(t *testing.T, o labenv.Options) *labenv.Stack {
	t.Helper()
	return labenv.NewNodeStack(t, labenv.StackOptions{Net: o, Node: labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}}})
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
	s.Eventually(2*time.Minute, fmt.Sprintf("%d active paths", paths), func() bool { return active() == paths })
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
	file := filepath.Join(v.TargetPath, "journal")
	journal := s.Writer(file)
	s.Eventually(2*time.Minute, "every NIC to carry I/O", func() bool {
		for nic, was := range before {
			if _, now := s.Bytes(nic); now-was < mib/8 {
				return false
			}
		}
		return true
	})
	r := journal.Stop(30 * time.Second)
	if err := journal.Verify(file); err != nil || r.Err != nil {
		s.T.Errorf("journal: %v, %v", r.Err, err)
	}
	s.T.Logf("%d writes, the longest took %v", r.Acked, r.Stall.Round(time.Millisecond))
}

// over makes a volume on a target with these portals, and uses it.
func over(s *labenv.Stack, portals []string, paths int) {
	s.T.Helper()
	raw := s.RawTargetGroups(iqn, portals)[0]
	var at []string
	for _, p := range portals {
		at = append(at, p+":3260")
	}
	v := s.Static(raw, lun, raw.AddLUN(lun, 64*mib), at, labenv.MountExt4)
	start := time.Now()
	v.Attach()
	s.T.Log("attached after", time.Since(start).Round(time.Millisecond))
	use(s, v, paths)
	v.Detach()
	s.Eventually(3*time.Minute, "all sessions to log out, one after the other", func() bool { return len(labenv.Sessions()) == 0 })
	s.Tidy()
}

// TestOnePath is a node without a spare: the map has one path, and the volume works.
func TestOnePath(t *testing.T) {
	s := newStack(t, labenv.Options{NICs: 1, Portals: 1})
	over(s, s.Net.Portals, 1)
}

// TestIPv6 is two NICs and two portals that have IPv6 addresses only, in one subnet.
func TestIPv6(t *testing.T) {
	s := newStack(t, labenv.Options{})
	for i, nic := range s.Net.NICs {
		s.Run("ip", "addr", "flush", "dev", nic)
		s.Run("ip", "addr", "add", fmt.Sprintf("2001:db8::%d/64", 10+i), "dev", nic, "nodad")
	}
	portals := []string{"[2001:db8::1]", "[2001:db8::2]"}
	for _, p := range portals {
		s.InTarget("ip", "addr", "add", strings.Trim(p, "[]")+"/64", "dev", "br0", "nodad")
	}
	over(s, portals, 4)
}

// TestSixteenPaths is four NICs by four portals in one subnet.
func TestSixteenPaths(t *testing.T) {
	s := newStack(t, labenv.Options{NICs: 4, Portals: 4})
	over(s, s.Net.Portals, 16)
}
