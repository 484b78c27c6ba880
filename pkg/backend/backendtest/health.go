package backendtest

import (
	"github.com/portbind/portbind/pkg/backend"
)

// testHealth: what is made by the book is well, published or not, and looking at it changes nothing.
func testHealth(s *suite) {
	v := s.create("vol")
	s.wantWell(v.Key)
	node := s.initiator()
	s.mustPublish(v.Key, node, false)
	for range 2 {
		s.wantWell(v.Key)
	}
	s.wantInitiators(v.Key, node)
	s.want(s.Backend.Unpublish(s.ctx(), v.Key, node), nil, "Unpublish")
	s.wantWell(v.Key)
	_, err := s.Backend.Health(s.ctx(), s.key("none"))
	s.want(err, backend.ErrNotFound, "Health of nothing")
	_, _, err = s.Backend.ListHealth(s.ctx(), 1, "invalid-token")
	s.want(err, backend.ErrPageToken, "ListHealth from an invalid token")
}

// wantWell wants no problem of a volume, and that it is in no list of those that have one.
func (s *suite) wantWell(key backend.Key) {
	s.Helper()
	h, err := s.Backend.Health(s.ctx(), key)
	s.want(err, nil, "Health")
	if h.Key != key || len(h.Problems) > 0 {
		s.Errorf("health of %s: %+v", key.Name, h)
	}
	ill := collect(s, 2, func(limit int, token string) ([]backend.Key, string, error) {
		page, next, err := s.Backend.ListHealth(s.ctx(), limit, token)
		keys := make([]backend.Key, len(page))
		for i, h := range page {
			keys[i] = h.Key
		}
		return keys, next, err
	})
	for _, k := range ill {
		if k == key {
			s.Errorf("%s is listed with problems", key.Name)
		}
	}
}
