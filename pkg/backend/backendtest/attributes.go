package backendtest

import (
	"maps"

	"github.com/portbind/portbind/pkg/backend"
)

func testAttributes(s *suite) {
	first := map[string]string{"pathSelector": "queue-length", "noPathRetry": "30s"}
	req := backend.CreateVolume{Key: s.key("vol"), RequiredBytes: base, Attributes: first}
	v := s.mustCreate(req)
	s.wantAttributes("created", v.Attributes, first)
	second := map[string]string{"noPathRetry": "fail", "preferredInterface": "san-a"}
	for range 2 {
		changed, err := s.Backend.SetAttributes(s.ctx(), v.Key, second)
		s.want(err, nil, "SetAttributes")
		s.wantAttributes("changed", changed.Attributes, second)
		s.wantAttributes("looked up", s.volume(v.Key).Attributes, second)
	}
	s.wantAttributes("published", s.mustPublish(v.Key, s.initiator(), false).Attributes, second)
	clone := s.mustCreate(backend.CreateVolume{Key: s.key("clone"), SourceVolume: &v.Key})
	s.wantAttributes("of a clone", clone.Attributes, nil)
	s.wantAttributes("created again", s.mustCreate(req).Attributes, first)
	changed, err := s.Backend.SetAttributes(s.ctx(), v.Key, nil)
	s.want(err, nil, "SetAttributes to none")
	s.wantAttributes("changed to none", changed.Attributes, nil)
	for key, value := range map[string]string{"": "a", "a b": "c", "a": "", "b": "x,portbind.kind=snapshot", "c": "a b"} {
		_, err := s.Backend.SetAttributes(s.ctx(), v.Key, map[string]string{key: value})
		s.want(err, backend.ErrInvalid, "SetAttributes "+key+"="+value)
	}
	s.wantAttributes("after refusals", s.volume(v.Key).Attributes, nil)
	_, err = s.Backend.SetAttributes(s.ctx(), s.key("none"), first)
	s.want(err, backend.ErrNotFound, "SetAttributes of a volume that is not there")
}

func (s *suite) wantAttributes(what string, got, want map[string]string) {
	s.Helper()
	if !maps.Equal(got, want) {
		s.Errorf("attributes %s: %v, want %v", what, got, want)
	}
}
