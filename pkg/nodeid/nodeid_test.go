package nodeid

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const driver, name = "iscsi.portbind.io", "iqn.2026-11.io.example:cloned"

var errForbidden = errors.New("forbidden")

// fakeCluster has nodes, and who announces the name.
type fakeCluster struct {
	nodes, announce []string
	err             error
}

func (f *fakeCluster) Announcers(_ context.Context, d, id string) ([]string, error) {
	if d != driver || id != name {
		panic("asked for " + d + " " + id)
	}
	return f.announce, f.err
}

func (f *fakeCluster) Exists(_ context.Context, node string) (bool, error) {
	return slices.Contains(f.nodes, node), f.err
}

// guard is node1's. What it tells is added to told.
func guard(f *fakeCluster, used bool, told *[]string) *Guard {
	return New(Config{
		Cluster: f, Barred: func(err error) bool { return errors.Is(err, errForbidden) },
		Driver: driver, Node: "node1", Initiator: name,
		Current: func() (string, error) { return name, nil },
		Used:    func() bool { return used },
		Tell: func(warning bool, reason, message string) {
			if warning != (reason == Duplicate) || !strings.Contains(message, name) {
				panic(message)
			}
			*told = append(*told, reason)
		},
	})
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		what     string
		announce []string
		used     bool
		err      error
		want     error
		told     []string
	}{
		{what: "nobody yet"},
		{what: "only we", announce: []string{"node1"}},
		{what: "another", announce: []string{"node1", "node2"}, want: ErrTaken, told: []string{Duplicate}},
		{what: "another, and we have volumes", announce: []string{"node2"}, used: true, told: []string{Duplicate}},
		{what: "a node that is gone", announce: []string{"node9"}},
		{what: "no answer", err: errors.New("connection refused"), want: ErrUnknown},
		{what: "not allowed", err: errForbidden},
	} {
		t.Run(c.what, func(t *testing.T) {
			var told []string
			g := guard(&fakeCluster{[]string{"node1", "node2"}, c.announce, c.err}, c.used, &told)
			for range 2 { // told once
				if err := g.Check(t.Context()); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("%v, want %v", err, c.want)
				} else if errors.Is(err, ErrTaken) && !strings.Contains(err.Error(), "node2") {
					t.Errorf("does not name the other: %v", err)
				}
			}
			if diff := cmp.Diff(c.told, told); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHeal: the other node goes away, comes back, and then this one gets a name of its own.
func TestHeal(t *testing.T) {
	var told []string
	var waits []time.Duration
	f := &fakeCluster{nodes: []string{"node1", "node2"}, announce: []string{"node2"}}
	g := guard(f, false, &told)
	current := name
	g.Current = func() (string, error) { return current, nil }
	steps := []func(){
		func() { f.err = errors.New("connection refused") },
		func() { f.err, f.announce = nil, nil },
		func() { f.announce = []string{"node1", "node2"} },
		func() { current = name + "-2" },
	}
	g.tick = func(d time.Duration) <-chan time.Time {
		waits = append(waits, d)
		steps[0]()
		steps = steps[1:]
		now := make(chan time.Time, 1)
		now <- time.Time{}
		return now
	}
	if err := g.Run(t.Context()); !errors.Is(err, ErrRenamed) {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{Duplicate, Unique, Duplicate}, told); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]time.Duration{sooner, sooner, interval, sooner}, waits); diff != "" {
		t.Error(diff)
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := guard(&fakeCluster{}, false, nil).Run(ctx); err != nil {
		t.Error(err)
	}
}
