package pathwatch

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/attach"
	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/volume"
)

var begin = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// step is a view, seconds after the begin, and the news that it must bring.
type step struct {
	at     int
	view   View
	events []string
	shifts []shift
}

func view(r binding.Resolution, vs ...Volume) View { return View{Interfaces: r, Volumes: vs} }

// dead are all paths, and none works.
func dead() []attach.Path {
	paths := all()
	for i := range paths {
		paths[i].State = attach.StateFailed
	}
	return paths
}

func fails(v Volume) Volume {
	v.Fails = true
	return v
}

func TestTracker(t *testing.T) {
	t.Parallel()
	both, noB, nothing := node(sanA, sanB), node(sanA, down(sanB)), node(down(sanA), down(sanB))
	lessB := "RedundancyLost: 2 of 4 paths are left on node n1: san-b (eth3) has no link"
	aDown, bDown := "StorageInterfaceDown: Storage interface san-a (eth2) has no link", "StorageInterfaceDown: Storage interface san-b (eth3) has no link"
	aUp, bUp := "StorageInterfaceUp: Storage interface san-a (eth2) is well again", "StorageInterfaceUp: Storage interface san-b (eth3) is well again"
	bothDead := "san-a (eth2): path failed to 10.99.0.1:3260, 10.99.0.2:3260; san-b (eth3): path failed to 10.99.0.1:3260, 10.99.0.2:3260"
	back := "RedundancyRestored: All 4 paths work again on node n1"
	for name, steps := range map[string][]step{
		"a cut and its end, each told once": {
			{0, view(both, vol(all()...)), nil, nil},
			{40, view(noB, vol(all()...)), []string{bDown, lessB}, []shift{{"san-b", false}}},
			{46, view(noB, vol(all(loggedOut)...)), nil, nil},
			{60, view(both, vol(all(loggedOut)...)), []string{bUp}, nil},
			{65, view(both, vol(all()...)), nil, nil},
			{70, view(both, vol(all()...)), []string{back}, []shift{{"san-b", true}}},
			{95, view(both, vol(all()...)), nil, nil},
		},
		"not whole at the first look": {
			{0, view(noB, vol(all(loggedOut)...)), []string{bDown, lessB}, []shift{{"san-b", false}}},
			{30, view(noB, vol(all(loggedOut)...)), nil, nil},
		},
		"worse, all lost, some back, all back": {
			{0, view(both, vol(all()...)), nil, nil},
			{40, view(both, vol(all()[:3]...)), []string{
				"RedundancyLost: 3 of 4 paths are left on node n1: san-b (eth3): no session to 10.99.0.2:3260",
			}, []shift{{"san-b", false}}},
			{50, view(noB, vol(all()...)), []string{bDown, lessB}, nil},
			{60, view(nothing, vol(all()...)), []string{
				aDown, "AllPathsLost: None of 4 paths is left on node n1, I/O waits: san-a (eth2) has no link; san-b (eth3) has no link",
			}, []shift{{"san-a", false}}},
			{70, view(noB, vol(all()...)), []string{aUp}, nil},
			{76, view(noB, vol(all()...)), []string{
				"SomePathsBack: 2 of 4 paths work again on node n1, I/O goes on; still lost: san-b (eth3) has no link",
			}, []shift{{"san-a", true}}},
			{80, view(both, vol(all()[:3]...)), []string{bUp}, nil},
			{85, view(both, vol(all()[:3]...)), nil, nil},
			{90, view(both, vol(all()...)), nil, nil},
			{95, view(both, vol(all()...)), []string{back}, []shift{{"san-b", true}}},
		},
		"taken away, and given back": {
			{0, view(both, vol(all()...)), nil, nil},
			{40, view(both, vol(dead()...)), []string{"AllPathsLost: None of 4 paths is left on node n1, I/O waits: " + bothDead}, []shift{{"san-a", false}, {"san-b", false}}},
			{70, view(both, fails(vol(dead()...))), []string{"IOFails: None of 4 paths is left on node n1, and I/O fails: " + bothDead}, nil},
			{80, view(both, fails(vol(dead()...))), nil, nil},
			{90, view(both, fails(vol(all()...))), nil, nil},
			{95, view(both, vol(all()...)), []string{back}, []shift{{"san-a", true}, {"san-b", true}}},
		},
		"a path that returns goes once more": {
			{0, view(both, vol(all()...)), nil, nil},
			{40, view(nothing, vol(all()...)), []string{
				aDown, bDown, "AllPathsLost: None of 4 paths is left on node n1, I/O waits: san-a (eth2) has no link; san-b (eth3) has no link",
			}, []shift{{"san-a", false}, {"san-b", false}}},
			{50, view(noB, vol(all()...)), []string{aUp}, nil},
			{52, view(nothing, vol(all()...)), []string{aDown}, nil},
			{54, view(both, vol(all()...)), []string{aUp, bUp}, nil},
			{58, view(both, vol(all()...)), nil, nil},
			{59, view(both, vol(all()...)), []string{back}, []shift{{"san-a", true}, {"san-b", true}}},
		},
		"better is no news, but worse after that is": {
			{0, view(both, vol(all(loggedOut)...)), []string{
				"RedundancyLost: 2 of 4 paths are left on node n1: san-b (eth3): session down to 10.99.0.1:3260, 10.99.0.2:3260",
			}, []shift{{"san-b", false}}},
			{10, view(both, vol(all()[:3]...)), nil, nil},
			{15, view(both, vol(all()[:3]...)), nil, nil},
			{20, view(both, vol(all(failed)...)), []string{
				"RedundancyLost: 2 of 4 paths are left on node n1: san-b (eth3): path failed to 10.99.0.1:3260, 10.99.0.2:3260",
			}, nil},
		},
		"a staged volume gathers its paths in peace": {
			{0, view(both), nil, nil},
			{40, view(both, vol(all()[:1]...)), nil, nil},
			{42, view(both, vol(all()[:2]...)), nil, nil},
			{44, view(both, vol(all()...)), nil, nil},
			{46, view(both, vol(all()[:3]...)), []string{
				"RedundancyLost: 3 of 4 paths are left on node n1: san-b (eth3): no session to 10.99.0.2:3260",
			}, []shift{{"san-b", false}}},
		},
		"but a NIC is lost": {
			{0, view(both), nil, nil},
			{40, view(both, vol(all()[:1]...)), nil, nil},
			{42, view(noB, vol(all()[:2]...)), []string{bDown, lessB}, []shift{{"san-b", false}}},
		},
		"but not for ever": {
			{0, view(both), nil, nil},
			{40, view(both, vol(all()[:1]...)), nil, nil}, // looks again by itself: TestWatcherLooksAgain
			{50, view(both, vol(all()[:2]...)), []string{
				"RedundancyLost: 2 of 4 paths are left on node n1: san-b (eth3): no session to 10.99.0.1:3260, 10.99.0.2:3260",
			}, []shift{{"san-b", false}}},
		},
		"unknown is no news, gone is forgotten": {
			{0, view(noB, vol(all()...)), []string{bDown, lessB}, []shift{{"san-b", false}}},
			{10, view(noB, Volume{ID: "t/p/v", Unknown: true}), nil, nil},
			{20, view(noB, vol(all()...)), nil, nil},
			{30, view(noB), nil, nil},
			{40, view(both), []string{bUp}, nil},
			{50, view(both, vol(all()...)), nil, nil},
		},
		"a node that is not meant to have it, until it has": {
			{0, view(without(node(sanA), "san-b")), nil, nil},
			{30, view(without(node(sanA), "san-b")), nil, nil},
			{60, view(both), []string{bUp}, nil},
		},
		"a NIC that is gone": {
			{0, view(both), nil, nil},
			{10, view(without(node(sanA), "san-b")), []string{`StorageInterfaceDown: Storage interface "san-b": no such NIC on this node`}, nil},
			{20, view(node(sanA, nic("san-b", "eth3", ""))), []string{"StorageInterfaceDown: Storage interface san-b (eth3) has no address"}, nil},
			{30, view(both), []string{bUp}, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTracker("node n1")
			for _, s := range steps {
				n := tr.update(s.view, begin.Add(time.Duration(s.at)*time.Second))
				var events []string
				for _, e := range n.events {
					events = append(events, e.Reason+": "+e.Message)
					wantWarning := !slices.Contains([]string{RedundancyRestored, InterfaceUp}, e.Reason)
					if e.Warning != wantWarning || (e.Volume == "") != strings.HasPrefix(e.Reason, "StorageInterface") {
						t.Errorf("%+v", e)
					}
				}
				if diff := cmp.Diff(s.events, events); diff != "" {
					t.Errorf("events after %d s (-want +got):\n%s", s.at, diff)
				}
				if diff := cmp.Diff(s.shifts, n.shifts, cmp.AllowUnexported(shift{})); diff != "" {
					t.Errorf("shifts after %d s (-want +got):\n%s", s.at, diff)
				}
			}
		})
	}
}

// TestMessageIsBounded has a volume with more paths than a message can name.
func TestMessageIsBounded(t *testing.T) {
	t.Parallel()
	v := vol()
	v.Claim, v.Portals = volume.Claim{Namespace: "shop", Name: "data"}, nil
	for i := range 32 {
		v.Portals = append(v.Portals, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(100 + i)}), 3260))
	}
	n := newTracker("node n1").update(view(node(sanA, sanB), v), begin)
	if len(n.events) != 1 || len(n.events[0].Message) > 1024 || !strings.HasSuffix(n.events[0].Message, "…") || n.events[0].Claim != v.Claim {
		t.Errorf("%+v", n.events)
	}
}
