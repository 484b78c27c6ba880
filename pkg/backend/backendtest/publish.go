package backendtest

import (
	"github.com/portbind/portbind/pkg/backend"
)

func testPublish(s *suite) {
	v, w := s.create("vol"), s.create("vol")
	node := s.initiator()
	first := s.mustPublish(v.Key, node, false)
	if again := s.mustPublish(v.Key, node, false); again.LUN != first.LUN {
		s.Errorf("published as %+v, then as %+v", first, again)
	}
	if other := s.mustPublish(w.Key, node, false); other.LUN == first.LUN {
		s.Errorf("two volumes at LUN %d of one initiator", first.LUN)
	}
	if first.LUN < 0 {
		s.Errorf("LUN %d", first.LUN)
	}
	s.wantInitiators(v.Key, node)
	s.sameVolume("created again while published", s.mustCreate(backend.CreateVolume{Key: v.Key, RequiredBytes: base}), s.volume(v.Key))
}

func (s *suite) volume(key backend.Key) backend.Volume {
	s.Helper()
	v, err := s.Backend.Volume(s.ctx(), key)
	s.want(err, nil, "Volume")
	return v
}

func testPublishRefused(s *suite) {
	v := s.create("vol")
	node, other := s.initiator(), s.initiator()
	s.mustPublish(v.Key, node, false)
	_, err := s.publish(v.Key, other, false)
	s.want(err, backend.ErrInUse, "Publish to a second initiator")
	_, err = s.Backend.Publish(s.ctx(), backend.Publish{Key: v.Key, Initiator: node, CHAP: s.CHAP, ReadOnly: true})
	s.want(err, backend.ErrExists, "Publish again read-only")
	s.wantInitiators(v.Key, node)
	_, err = s.publish(s.key("none"), node, false)
	s.want(err, backend.ErrNotFound, "Publish of nothing")
	for _, bad := range []string{"", "node1", "iqn.2026-11.io.example:../../x", "iqn.2026-11.io.example:a\nb", "-iqn.2026-11.io.example:a"} {
		_, err = s.publish(v.Key, bad, true)
		s.want(err, backend.ErrInvalid, "Publish to "+bad)
	}
	s.want(s.Backend.Unpublish(s.ctx(), v.Key, node), nil, "Unpublish")
	_, err = s.Backend.Publish(s.ctx(), backend.Publish{Key: v.Key, Initiator: other, CHAP: s.CHAP, ReadOnly: true})
	s.want(err, nil, "Publish read-only to another, after it was unpublished")
}

func testPublishShared(s *suite) {
	v := s.create("vol")
	a, b := s.initiator(), s.initiator()
	first := s.mustPublish(v.Key, a, true)
	s.mustPublish(v.Key, b, true)
	s.wantInitiators(v.Key, a, b)
	if again := s.mustPublish(v.Key, a, true); again.LUN != first.LUN {
		s.Errorf("published as %+v, then as %+v", first, again)
	}
	s.want(s.Backend.Unpublish(s.ctx(), v.Key, a), nil, "Unpublish one of two")
	s.wantInitiators(v.Key, b)
	s.want(s.Backend.DeleteVolume(s.ctx(), v.Key), backend.ErrInUse, "DeleteVolume while one is left")
}

func testUnpublish(s *suite) {
	v := s.create("vol")
	a, b := s.initiator(), s.initiator()
	s.mustPublish(v.Key, a, true)
	s.mustPublish(v.Key, b, true)
	s.want(s.Backend.Unpublish(s.ctx(), v.Key, ""), nil, "Unpublish from all")
	s.wantInitiators(v.Key)
	s.want(s.Backend.Unpublish(s.ctx(), v.Key, a), nil, "Unpublish again")
	s.want(s.Backend.Unpublish(s.ctx(), s.key("none"), a), nil, "Unpublish of nothing")
	s.mustPublish(v.Key, b, false)
	s.wantInitiators(v.Key, b)
}
