package backendtest

import (
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portbind/portbind/pkg/backend"
)

func testCreate(s *suite) {
	req := backend.CreateVolume{Key: s.key("vol"), RequiredBytes: base}
	v := s.mustCreate(req)
	if v.Key != req.Key || v.SizeBytes < base || v.SizeBytes > base+128*mib {
		s.Errorf("created %+v for %+v", v, req)
	}
	if !strings.HasPrefix(v.WWID, "naa.6") || len(v.WWID) != len("naa.")+32 {
		s.Errorf("WWID is %q, want naa. and 32 hex digits", v.WWID)
	}
	if v.SourceSnapshot != nil || v.SourceVolume != nil || len(v.Initiators) != 0 {
		s.Errorf("an empty volume has source or initiators: %+v", v)
	}
	s.sameVolume("created again", s.mustCreate(req), v)
	found, err := s.Backend.Volume(s.ctx(), req.Key)
	s.want(err, nil, "Volume")
	s.sameVolume("looked up", found, v)
	_, err = s.Backend.Volume(s.ctx(), s.key("none"))
	s.want(err, backend.ErrNotFound, "Volume that is not there")
	if w := s.create("vol"); w.WWID == v.WWID {
		s.Errorf("two volumes share the WWID %s", w.WWID)
	}
}

func (s *suite) sameVolume(what string, got, want backend.Volume) {
	s.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.Errorf("%s: another volume (-want +got):\n%s", what, diff)
	}
}

func testCreateSizes(s *suite) {
	if v := s.mustCreate(backend.CreateVolume{Key: s.key("default")}); v.SizeBytes != 1<<30 {
		s.Errorf("default size is %d, want 1 GiB", v.SizeBytes)
	}
	if v := s.mustCreate(backend.CreateVolume{Key: s.key("limit"), LimitBytes: base}); v.SizeBytes > base || v.SizeBytes <= 0 {
		s.Errorf("size is %d with a limit of %d", v.SizeBytes, base)
	}
	if v := s.mustCreate(backend.CreateVolume{Key: s.key("odd"), RequiredBytes: base + 1}); v.SizeBytes <= base {
		s.Errorf("size is %d, want more than %d", v.SizeBytes, base)
	}
	v := s.create("fit")
	refused := []struct {
		name     string
		key      backend.Key
		req, lim int64
		sentinel error
	}{
		{"larger than what exists", v.Key, v.SizeBytes + 256*mib, 0, backend.ErrExists},
		{"limit below what exists", v.Key, 0, v.SizeBytes - mib, backend.ErrExists},
		{"no whole extent within the limit", s.key("x"), base + 1, base + 2, backend.ErrOutOfRange},
		{"larger than any volume", s.key("x"), 1 << 60, 0, backend.ErrOutOfRange},
	}
	for _, r := range refused {
		_, err := s.Backend.CreateVolume(s.ctx(), backend.CreateVolume{Key: r.key, RequiredBytes: r.req, LimitBytes: r.lim})
		s.want(err, r.sentinel, r.name)
	}
	s.sameVolume("another range that fits",
		s.mustCreate(backend.CreateVolume{Key: v.Key, RequiredBytes: mib, LimitBytes: v.SizeBytes}), v)
}

func testCreateNames(s *suite) {
	names := []string{
		"", "../x", "-x", "x-", "a/b", "a\nb", "a,b", "Upper", "a b", strings.Repeat("x", 64), strings.Repeat("x", 10<<10),
	}
	for _, name := range names {
		_, err := s.Backend.CreateVolume(s.ctx(), backend.CreateVolume{Key: backend.Key{Pool: s.Pool, Name: name}, RequiredBytes: base})
		s.want(err, backend.ErrInvalid, "CreateVolume named "+name[:min(len(name), 20)])
	}
	_, err := s.Backend.CreateVolume(s.ctx(), backend.CreateVolume{Key: backend.Key{Pool: "no-such-pool", Name: "x"}})
	s.want(err, backend.ErrNotFound, "CreateVolume in an unknown pool")
	longest := backend.CreateVolume{Key: s.key("x"), RequiredBytes: base}
	longest.Name += strings.Repeat("y", 63-len(longest.Name))
	s.Cleanup(func() { s.remove(longest.Key) })
	s.mustCreate(longest)
}

func testDelete(s *suite) {
	v := s.create("vol")
	node := s.initiator()
	s.mustPublish(v.Key, node, false)
	s.want(s.Backend.DeleteVolume(s.ctx(), v.Key), backend.ErrInUse, "DeleteVolume while published")
	s.wantInitiators(v.Key, node)
	s.want(s.Backend.Unpublish(s.ctx(), v.Key, node), nil, "Unpublish")
	s.want(s.Backend.DeleteVolume(s.ctx(), v.Key), nil, "DeleteVolume")
	s.want(s.Backend.DeleteVolume(s.ctx(), v.Key), nil, "DeleteVolume again")
	_, err := s.Backend.Volume(s.ctx(), v.Key)
	s.want(err, backend.ErrNotFound, "Volume after its deletion")
	_, err = s.publish(v.Key, node, false)
	s.want(err, backend.ErrNotFound, "Publish after its deletion")

	again := s.mustCreate(backend.CreateVolume{Key: v.Key, RequiredBytes: base})
	if again.WWID == v.WWID {
		s.Error("a new volume has the WWID of a deleted one of the same name")
	}
}

func testExpand(s *suite) {
	v := s.create("vol")
	grown := s.expand(v.Key, v.SizeBytes+base)
	if grown.SizeBytes < v.SizeBytes+base || grown.WWID != v.WWID {
		s.Errorf("%+v grew to %+v", v, grown)
	}
	if same := s.expand(v.Key, base); same.SizeBytes != grown.SizeBytes {
		s.Errorf("size went from %d to %d", grown.SizeBytes, same.SizeBytes)
	}
	s.mustPublish(v.Key, s.initiator(), false)
	if online := s.expand(v.Key, grown.SizeBytes+base); online.SizeBytes < grown.SizeBytes+base {
		s.Errorf("size is %d after growing a published volume", online.SizeBytes)
	}
	for what, size := range map[string][2]int64{
		"limit below the size": {0, base}, "larger than any volume": {1 << 60, 0}, "no whole extent": {8*base + 1, 8*base + 2},
	} {
		_, err := s.Backend.ExpandVolume(s.ctx(), v.Key, size[0], size[1])
		s.want(err, backend.ErrOutOfRange, what)
	}
	_, err := s.Backend.ExpandVolume(s.ctx(), s.key("none"), base, 0)
	s.want(err, backend.ErrNotFound, "ExpandVolume of nothing")
}

func (s *suite) expand(key backend.Key, required int64) backend.Volume {
	s.Helper()
	v, err := s.Backend.ExpandVolume(s.ctx(), key, required, 0)
	s.want(err, nil, "ExpandVolume")
	found, err := s.Backend.Volume(s.ctx(), key)
	s.want(err, nil, "Volume")
	s.sameVolume("after growing", found, v)
	return v
}
