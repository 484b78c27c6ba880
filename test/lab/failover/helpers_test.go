//go:build lab

// Package failover shows that a staged volume survives its network: links cut and silently dropped under verified
// writes, dead portals, a rebooting target, foreign hands on open-iscsi's records, wrong secrets.
package failover

import (
	"fmt"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/multipath"
	"github.com/portbind/portbind/test/lab/labenv"
)

const (
	mib = 1 << 20
	// maxStall is what the scorecard allows where the kernel cannot destroy sockets, and for silent loss.
	maxStall = 7 * time.Second
	// maxReturn is how long after a NIC's return all paths must be back.
	maxReturn = 10 * time.Second
	// allPaths is two NICs by two portals.
	allPaths = 4
)

// newStack is a node as its installation leaves it: multipathd with its own defaults, and the product's, but for unused
// sessions, which go at once, so that a test can see that everything does.
func newStack(t *testing.T) *labenv.Stack {
	t.Helper()
	return labenv.NewStack(t, labenv.StackOptions{Node: shortLinger(), Initiator: stock})
}

var stock = labenv.InitiatorOptions{MultipathConf: "# nothing, as Debian installs it\n"}

func shortLinger() labenv.NodeOptions {
	return labenv.NodeOptions{Config: map[string]any{"sessionLinger": "1s"}}
}

// volume is a mounted volume and its map.
type volume struct {
	*labenv.Volume
	s  *labenv.Stack
	id string // the map's name
}

// create makes a volume that is not published yet.
func create(s *labenv.Stack, name string, params map[string]string) *volume {
	s.T.Helper()
	v := &volume{Volume: s.Create(name, 256*mib, labenv.MountExt4, params), s: s}
	id, ok := multipath.ID(v.WWID())
	if !ok {
		s.T.Fatalf("volume context has WWID %q", v.WWID())
	}
	v.id = id
	return v
}

// up makes a volume usable and waits until all its paths are active.
func up(s *labenv.Stack, name string) *volume {
	s.T.Helper()
	v := create(s, name, nil)
	v.Up()
	v.waitPaths(20*time.Second, allPaths)
	return v
}

// active counts the paths that the kernel's map uses.
func (v *volume) active() int {
	states, err := multipath.NewDM("/dev").PathStates(multipath.UUID(v.id))
	if err != nil {
		return 0
	}
	n := 0
	for _, p := range states {
		if p.Active {
			n++
		}
	}
	return n
}

func (v *volume) waitPaths(timeout time.Duration, want int) time.Duration {
	v.s.T.Helper()
	defer func() {
		if v.s.T.Failed() {
			v.s.T.Log(v.paths())
		}
	}()
	return v.s.Eventually(timeout, fmt.Sprintf("%d active paths", want), func() bool { return v.active() == want })
}

// paths says what the kernel knows of the map and its paths.
func (v *volume) paths() string {
	dm, uuid := multipath.NewDM("/dev"), multipath.UUID(v.id)
	info, err := dm.Find(uuid)
	table, tableErr := dm.Table(uuid)
	states, statesErr := dm.PathStates(uuid)
	return fmt.Sprintf("map: %+v, %v\ntable: %+v, %v\npaths: %+v, %v\nsessions: %+v",
		info, err, table, tableErr, states, statesErr, labenv.Sessions())
}

// down takes the volume away and checks that nothing is left of it, sessions included.
func (v *volume) down() {
	v.s.T.Helper()
	v.Down()
	tidy(v.s)
}

// tidy checks that nothing is left.
func tidy(s *labenv.Stack) {
	s.T.Helper()
	goneSessions(s)
	s.Tidy()
}

// goneSessions waits until unused sessions are logged out and their records are removed, which follows.
func goneSessions(s *labenv.Stack) {
	s.T.Helper()
	s.Eventually(20*time.Second, "unused sessions to log out", func() bool {
		return len(labenv.Sessions()) == 0 && len(paths()) == 0
	})
}

// startLoad writes to the volume, verified.
func startLoad(v *volume) *labenv.Load {
	v.s.T.Helper()
	return v.s.Load(v.TargetPath, labenv.FioOptions{Size: "16M", Rate: "8m"})
}

// atMost fails the test when what took longer than allowed.
func atMost(t *testing.T, what string, took, allowed time.Duration) {
	t.Helper()
	t.Logf("%s: %v (allowed: %v)", what, took.Round(time.Millisecond), allowed)
	if took > allowed {
		t.Errorf("%s took %v; allowed: %v", what, took, allowed)
	}
}
