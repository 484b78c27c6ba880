package backendtest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portbind/portbind/pkg/backend"
)

func testSnapshot(s *suite) {
	v, other := s.create("vol"), s.create("other")
	begin := time.Now().Add(-5 * time.Second)
	snap := s.mustSnapshot(v.Key)
	if snap.Source != v.Key || snap.SizeBytes != v.SizeBytes || snap.Pool != s.Pool {
		s.Errorf("snapshot is %+v of %+v", snap, v)
	}
	if snap.Created.Before(begin) || snap.Created.After(time.Now().Add(5*time.Second)) {
		s.Errorf("created at %v, now is %v", snap.Created, time.Now())
	}
	again, err := s.Backend.CreateSnapshot(s.ctx(), snap.Key, v.Key)
	s.want(err, nil, "CreateSnapshot again")
	s.sameSnapshot("taken again", again, snap)
	found, err := s.Backend.Snapshot(s.ctx(), snap.Key)
	s.want(err, nil, "Snapshot")
	s.sameSnapshot("looked up", found, snap)
	_, err = s.Backend.CreateSnapshot(s.ctx(), snap.Key, other.Key)
	s.want(err, backend.ErrExists, "CreateSnapshot of another volume")
	_, err = s.Backend.CreateSnapshot(s.ctx(), s.key("snap"), s.key("none"))
	s.want(err, backend.ErrNotFound, "CreateSnapshot of nothing")
	_, err = s.Backend.Snapshot(s.ctx(), s.key("none"))
	s.want(err, backend.ErrNotFound, "Snapshot that is not there")

	// The name spaces are apart.
	s.mustCreate(backend.CreateVolume{Key: snap.Key, RequiredBytes: base})
}

func (s *suite) sameSnapshot(what string, got, want backend.Snapshot) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
		s.Errorf("%s: another snapshot (-want +got):\n%s", what, diff)
	}
}

func testSnapshotOutlives(s *suite) {
	v := s.create("vol")
	snap := s.mustSnapshot(v.Key)
	s.want(s.Backend.DeleteVolume(s.ctx(), v.Key), nil, "DeleteVolume with a snapshot")
	found, err := s.Backend.Snapshot(s.ctx(), snap.Key)
	s.want(err, nil, "Snapshot without its source")
	s.sameSnapshot("without its source", found, snap)
	again, err := s.Backend.CreateSnapshot(s.ctx(), snap.Key, v.Key)
	s.want(err, nil, "CreateSnapshot again without its source")
	s.sameSnapshot("taken again without its source", again, snap)
	made := s.mustCreate(backend.CreateVolume{Key: s.key("new"), SourceSnapshot: &snap.Key})
	if made.SizeBytes != v.SizeBytes {
		s.Errorf("size is %d, want %d", made.SizeBytes, v.SizeBytes)
	}
	s.want(s.Backend.DeleteSnapshot(s.ctx(), snap.Key), nil, "DeleteSnapshot")
	s.want(s.Backend.DeleteSnapshot(s.ctx(), snap.Key), nil, "DeleteSnapshot again")
	_, err = s.Backend.Snapshot(s.ctx(), snap.Key)
	s.want(err, backend.ErrNotFound, "Snapshot after its deletion")
}

func testFromSnapshot(s *suite) {
	v := s.create("vol")
	snap := s.mustSnapshot(v.Key)
	s.fromSource(v, func(req *backend.CreateVolume) { req.SourceSnapshot = &snap.Key },
		func() error { return s.Backend.DeleteSnapshot(s.ctx(), snap.Key) })
}

func testFromVolume(s *suite) {
	v := s.create("vol")
	s.fromSource(v, func(req *backend.CreateVolume) { req.SourceVolume = &v.Key },
		func() error { return s.Backend.DeleteVolume(s.ctx(), v.Key) })
}

// fromSource makes volumes from a source of v's size that set puts into requests and drop deletes.
func (s *suite) fromSource(v backend.Volume, set func(*backend.CreateVolume), drop func() error) {
	s.Helper()
	same := backend.CreateVolume{Key: s.key("same")}
	set(&same)
	made := s.mustCreate(same)
	if made.SizeBytes != v.SizeBytes || made.WWID == v.WWID {
		s.Errorf("made %+v of %+v", made, v)
	}
	if diff := cmp.Diff([]*backend.Key{same.SourceSnapshot, same.SourceVolume},
		[]*backend.Key{made.SourceSnapshot, made.SourceVolume}); diff != "" {
		s.Errorf("source (-want +got):\n%s", diff)
	}
	larger := backend.CreateVolume{Key: s.key("larger"), RequiredBytes: 2 * v.SizeBytes}
	set(&larger)
	if w := s.mustCreate(larger); w.SizeBytes < 2*v.SizeBytes {
		s.Errorf("size is %d, want at least %d", w.SizeBytes, 2*v.SizeBytes)
	}
	smaller := backend.CreateVolume{Key: s.key("smaller"), RequiredBytes: v.SizeBytes / 2, LimitBytes: v.SizeBytes / 2}
	set(&smaller)
	_, err := s.Backend.CreateVolume(s.ctx(), smaller)
	s.want(err, backend.ErrOutOfRange, "a volume smaller than its source")

	empty := backend.CreateVolume{Key: same.Key}
	_, err = s.Backend.CreateVolume(s.ctx(), empty)
	s.want(err, backend.ErrExists, "the same name without a source")

	s.want(drop(), nil, "delete the source of a volume")
	s.sameVolume("without its source", s.mustCreate(same), made)
	fresh := backend.CreateVolume{Key: s.key("fresh")}
	set(&fresh)
	_, err = s.Backend.CreateVolume(s.ctx(), fresh)
	s.want(err, backend.ErrNotFound, "a volume from a deleted source")
}

func testSourceRefused(s *suite) {
	v := s.create("vol")
	snap := s.mustSnapshot(v.Key)
	elsewhere := s.key("x")
	elsewhere.Pool = s.OtherPool
	s.Cleanup(func() { s.remove(elsewhere) })
	_, err := s.Backend.CreateVolume(s.ctx(), backend.CreateVolume{Key: elsewhere, SourceVolume: &v.Key})
	s.want(err, backend.ErrInvalid, "a source volume in another pool")
	_, err = s.Backend.CreateVolume(s.ctx(), backend.CreateVolume{Key: elsewhere, SourceSnapshot: &snap.Key})
	s.want(err, backend.ErrInvalid, "a source snapshot in another pool")
	_, err = s.Backend.CreateVolume(s.ctx(), backend.CreateVolume{Key: s.key("x"), SourceSnapshot: &snap.Key, SourceVolume: &v.Key})
	s.want(err, backend.ErrInvalid, "two sources")
}
