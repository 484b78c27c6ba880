//go:build lab

package portals

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const mib = 1 << 20

// TestReplaced: of a target's two portals one is replaced under writes. The volume, which was made with the old ones, has paths
// over the new one on both NICs, then none over the old one any more, and the sessions of the portal that stays are the same.
func TestReplaced(t *testing.T) {
	s := labenv.NewStack(t, labenv.StackOptions{
		Net:    labenv.Options{Portals: 3},
		Target: labenv.TargetOptions{Config: map[string]any{"portals": []string{"10.99.0.1:3260", "10.99.0.2:3260"}}},
		Node:   labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}},
	})
	kept, lost, gained := s.Net.Portals[0]+":3260", s.Net.Portals[1]+":3260", s.Net.Portals[2]+":3260"
	v := s.Create("replaced", 64*mib, labenv.MountExt4, nil)
	v.Up()
	want(s, v, kept, lost)
	before := ids(kept)
	file := filepath.Join(v.TargetPath, "journal")
	journal := s.Writer(file)
	s.Eventually(time.Minute, "writes to begin", func() bool { return journal.Result().Acked > 20 })

	text, err := os.ReadFile(s.Target.Config)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), lost, gained, 1))
	if err := os.WriteFile(s.Target.Config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Target.Stop()
	s.Target.Start()
	t.Log("paths follow after", want(s, v, kept, gained))
	if after := ids(kept); !slices.Equal(before, after) {
		t.Errorf("the sessions with %s were %v and are %v", kept, before, after)
	}
	r := journal.Stop(30 * time.Second)
	t.Logf("%d writes, the longest took %v", r.Acked, r.Stall.Round(time.Millisecond))
	if err := journal.Verify(file); err != nil || r.Err != nil {
		t.Errorf("journal: %v, %v", r.Err, err)
	}
	t.Log(s.Run("sh", "-c", "grep -E 'portals of a volume|Paths have left' "+s.Node.Log))
	v.Down()
	s.Tidy()
}

// want waits until the sessions are those of both NICs with these portals, and the map's paths theirs.
func want(s *labenv.Stack, v *labenv.Volume, portals ...string) time.Duration {
	s.T.Helper()
	var expected, got []string
	for _, p := range portals {
		expected = append(expected, "san0 "+p, "san1 "+p)
	}
	slices.Sort(expected)
	defer func() {
		if s.T.Failed() {
			s.T.Logf("sessions: %q", got)
		}
	}()
	return s.Eventually(90*time.Second, fmt.Sprint(expected), func() bool {
		got = nil
		for _, x := range labenv.Sessions() {
			got = append(got, x.NIC+" "+x.Portal)
		}
		slices.Sort(got)
		states, err := multipath.NewDM("/dev").PathStates(multipath.UUID(v.Map()))
		active := slices.DeleteFunc(slices.Clone(states), func(p multipath.PathState) bool { return !p.Active })
		return err == nil && slices.Equal(got, expected) && len(states) == len(expected) && len(active) == len(expected)
	})
}

// ids are the numbers of the sessions with a portal.
func ids(portal string) []int {
	var all []int
	for _, x := range labenv.Sessions() {
		if x.Portal == portal {
			all = append(all, x.ID)
		}
	}
	return all
}
