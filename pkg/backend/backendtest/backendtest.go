// Package backendtest is the contract that every backend must meet, as a test suite. It runs on the fake in unit tests
// and on a real target in the lab. Nothing is skipped: what a fixture lacks is an error.
package backendtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/portbind/portbind/pkg/backend"
)

const (
	mib = int64(1) << 20
	// base is the size of most volumes: a multiple of any extent in use, small enough for a lab.
	base = 64 * mib
	// callTime bounds one call; LVM in a slow guest needs seconds.
	callTime = 2 * time.Minute
)

// Fixture is a backend under test. Other objects may be in it: the suite touches and counts only its own.
type Fixture struct {
	Backend backend.Backend
	// Pool and OtherPool are two pools with room for 20 thin volumes of 1 GiB.
	Pool, OtherPool string
	// CHAP is given with every publish; nil where the target does not ask for it.
	CHAP *backend.CHAP
}

// Run runs the contract. newFixture is called once for each part of it.
func Run(t *testing.T, newFixture func(t *testing.T) Fixture) {
	t.Helper()
	parts := []struct {
		name string
		run  func(*suite)
	}{
		{"target", testTarget},
		{"capacity", testCapacity},
		{"create", testCreate},
		{"create sizes", testCreateSizes},
		{"create refuses names", testCreateNames},
		{"delete", testDelete},
		{"expand", testExpand},
		{"attributes", testAttributes},
		{"snapshot", testSnapshot},
		{"snapshot outlives its source", testSnapshotOutlives},
		{"volume from snapshot", testFromSnapshot},
		{"volume from volume", testFromVolume},
		{"source refused", testSourceRefused},
		{"publish", testPublish},
		{"publish refused", testPublishRefused},
		{"publish shared", testPublishShared},
		{"unpublish", testUnpublish},
		{"list volumes", testListVolumes},
		{"list snapshots", testListSnapshots},
		{"health", testHealth},
		{"cancelled context", testCancelled},
		{"identical calls at once", testIdenticalCalls},
		{"different calls at once", testDifferentCalls},
	}
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			f := newFixture(t)
			if f.Backend == nil || f.Pool == "" || f.OtherPool == "" {
				t.Fatal("the fixture needs a backend and two pools")
			}
			p.run(&suite{T: t, Fixture: f})
		})
	}
}

// suite is one part under way. Its methods fail the test; what they make is deleted at the end.
type suite struct {
	*testing.T
	Fixture
}

func (s *suite) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), callTime)
	s.Cleanup(cancel)
	return ctx
}

// key makes a name that nothing else has, and sees to it that it is free again at the end.
func (s *suite) key(kind string) backend.Key {
	s.Helper()
	var random [5]byte
	if _, err := rand.Read(random[:]); err != nil {
		s.Fatal(err)
	}
	key := backend.Key{Pool: s.Pool, Name: "ct-" + kind + "-" + hex.EncodeToString(random[:])}
	s.Cleanup(func() { s.remove(key) })
	return key
}

func (s *suite) remove(key backend.Key) {
	s.Helper()
	ctx := s.ctx()
	err := errors.Join(
		s.Backend.Unpublish(ctx, key, ""), s.Backend.DeleteVolume(ctx, key), s.Backend.DeleteSnapshot(ctx, key))
	if err != nil {
		s.Errorf("clean up %s: %v", key.Name, err)
	}
}

// create makes a volume of base bytes.
func (s *suite) create(kind string) backend.Volume {
	s.Helper()
	return s.mustCreate(backend.CreateVolume{Key: s.key(kind), RequiredBytes: base})
}

func (s *suite) mustCreate(req backend.CreateVolume) backend.Volume {
	s.Helper()
	v, err := s.Backend.CreateVolume(s.ctx(), req)
	if err != nil {
		s.Fatalf("CreateVolume(%+v): %v", req, err)
	}
	return v
}

func (s *suite) mustSnapshot(source backend.Key) backend.Snapshot {
	s.Helper()
	snap, err := s.Backend.CreateSnapshot(s.ctx(), s.key("snap"), source)
	if err != nil {
		s.Fatalf("CreateSnapshot of %v: %v", source, err)
	}
	return snap
}

func (s *suite) publish(key backend.Key, initiator string, shared bool) (backend.Export, error) {
	return s.Backend.Publish(s.ctx(), backend.Publish{Key: key, Initiator: initiator, CHAP: s.CHAP, Shared: shared})
}

func (s *suite) mustPublish(key backend.Key, initiator string, shared bool) backend.Export {
	s.Helper()
	e, err := s.publish(key, initiator, shared)
	if err != nil {
		s.Fatalf("Publish %s to %s: %v", key.Name, initiator, err)
	}
	return e
}

// initiator makes the name of a node that nothing else uses.
func (s *suite) initiator() string {
	s.Helper()
	var random [5]byte
	if _, err := rand.Read(random[:]); err != nil {
		s.Fatal(err)
	}
	return "iqn.2026-11.io.portbind.test:" + hex.EncodeToString(random[:])
}

// want fails unless err is the sentinel; a nil sentinel wants success.
func (s *suite) want(err, sentinel error, what string) {
	s.Helper()
	switch {
	case sentinel == nil && err != nil:
		s.Errorf("%s: %v", what, err)
	case sentinel != nil && !errors.Is(err, sentinel):
		s.Errorf("%s: got %v, want an error that is %q", what, err, sentinel)
	}
}

func (s *suite) wantInitiators(key backend.Key, want ...string) {
	s.Helper()
	v, err := s.Backend.Volume(s.ctx(), key)
	s.want(err, nil, "Volume")
	slices.Sort(want)
	if !slices.Equal(v.Initiators, want) {
		s.Errorf("initiators of %s: %q, want %q", key.Name, v.Initiators, want)
	}
}

func testTarget(s *suite) {
	target, err := s.Backend.Target(s.ctx())
	s.want(err, nil, "Target")
	if target.IQN == "" || len(target.Portals) == 0 {
		s.Errorf("no address in %+v", target)
	}
	if !slices.Contains(target.Pools, s.Pool) || !slices.Contains(target.Pools, s.OtherPool) {
		s.Errorf("pools are %q, want %q and %q among them", target.Pools, s.Pool, s.OtherPool)
	}
}

func testCapacity(s *suite) {
	c, err := s.Backend.Capacity(s.ctx(), s.Pool)
	s.want(err, nil, "Capacity")
	if c.TotalBytes <= 0 || c.AvailableBytes < 0 || c.AvailableBytes > c.TotalBytes || c.MaxVolumeBytes < base {
		s.Errorf("capacity is %+v", c)
	}
	_, err = s.Backend.Capacity(s.ctx(), "no-such-pool")
	s.want(err, backend.ErrNotFound, "Capacity of an unknown pool")
}
