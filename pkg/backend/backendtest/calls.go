package backendtest

import (
	"context"
	"errors"
	"sync"

	"github.com/portbind/portbind/pkg/backend"
)

func testCancelled(s *suite) {
	v := s.create("vol")
	ctx, cancel := context.WithCancel(s.ctx())
	cancel()
	volume, snap := s.key("none"), s.key("none")
	calls := map[string]func() error{
		"Target":         func() error { _, err := s.Backend.Target(ctx); return err },
		"Capacity":       func() error { _, err := s.Backend.Capacity(ctx, s.Pool); return err },
		"Volume":         func() error { _, err := s.Backend.Volume(ctx, v.Key); return err },
		"ListVolumes":    func() error { _, _, err := s.Backend.ListVolumes(ctx, 0, ""); return err },
		"ListSnapshots":  func() error { _, _, err := s.Backend.ListSnapshots(ctx, nil, 0, ""); return err },
		"Snapshot":       func() error { _, err := s.Backend.Snapshot(ctx, snap); return err },
		"Health":         func() error { _, err := s.Backend.Health(ctx, v.Key); return err },
		"ListHealth":     func() error { _, _, err := s.Backend.ListHealth(ctx, 0, ""); return err },
		"DeleteVolume":   func() error { return s.Backend.DeleteVolume(ctx, v.Key) },
		"DeleteSnapshot": func() error { return s.Backend.DeleteSnapshot(ctx, snap) },
		"Unpublish":      func() error { return s.Backend.Unpublish(ctx, v.Key, "") },
		"ExpandVolume":   func() error { _, err := s.Backend.ExpandVolume(ctx, v.Key, 4*base, 0); return err },
		"SetAttributes": func() error {
			_, err := s.Backend.SetAttributes(ctx, v.Key, map[string]string{"a": "b"})
			return err
		},
		"CreateSnapshot": func() error { _, err := s.Backend.CreateSnapshot(ctx, snap, v.Key); return err },
		"CreateVolume": func() error {
			_, err := s.Backend.CreateVolume(ctx, backend.CreateVolume{Key: volume, RequiredBytes: base})
			return err
		},
		"Publish": func() error {
			_, err := s.Backend.Publish(ctx, backend.Publish{Key: v.Key, Initiator: s.initiator(), CHAP: s.CHAP})
			return err
		},
	}
	for name, call := range calls {
		s.want(call(), context.Canceled, name+" with a cancelled context")
	}
	s.sameVolume("after cancelled calls", s.volume(v.Key), v)
	_, err := s.Backend.Volume(s.ctx(), volume)
	s.want(err, backend.ErrNotFound, "Volume of a cancelled call")
	_, err = s.Backend.Snapshot(s.ctx(), snap)
	s.want(err, backend.ErrNotFound, "Snapshot of a cancelled call")
}

// together runs n calls at once and gives their errors.
func together(n int, call func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = call(i) })
	}
	wg.Wait()
	return errs
}

// wantSome wants that at least one call succeeded and that the others were told that it is busy.
func (s *suite) wantSome(errs []error, what string) {
	s.Helper()
	good := 0
	for _, err := range errs {
		switch {
		case err == nil:
			good++
		case !errors.Is(err, backend.ErrBusy):
			s.Errorf("%s at once: %v", what, err)
		}
	}
	if good == 0 {
		s.Errorf("%s at once: none succeeded", what)
	}
}

func testIdenticalCalls(s *suite) {
	const n = 10
	req := backend.CreateVolume{Key: s.key("same"), RequiredBytes: base}
	wwids := make([]string, n)
	s.wantSome(together(n, func(i int) error {
		v, err := s.Backend.CreateVolume(s.ctx(), req)
		wwids[i] = v.WWID
		return err
	}), "CreateVolume")
	v := s.mustCreate(req)
	for _, w := range wwids {
		if w != "" && w != v.WWID {
			s.Errorf("WWIDs of one volume: %s and %s", w, v.WWID)
		}
	}
	node := s.initiator()
	s.wantSome(together(n, func(int) error { _, err := s.publish(v.Key, node, false); return err }), "Publish")
	s.mustPublish(v.Key, node, false)
	s.wantInitiators(v.Key, node)
	s.wantSome(together(n, func(int) error { return s.Backend.Unpublish(s.ctx(), v.Key, node) }), "Unpublish")
	s.want(s.Backend.Unpublish(s.ctx(), v.Key, node), nil, "Unpublish")
	s.wantSome(together(n, func(int) error { return s.Backend.DeleteVolume(s.ctx(), v.Key) }), "DeleteVolume")
	s.want(s.Backend.DeleteVolume(s.ctx(), v.Key), nil, "DeleteVolume")
}

func testDifferentCalls(s *suite) {
	const n = 6
	node := s.initiator()
	keys := make([]backend.Key, n)
	for i := range keys {
		keys[i] = s.key("diff")
	}
	volumes, exports := make([]backend.Volume, n), make([]backend.Export, n)
	for _, err := range together(n, func(i int) (err error) {
		if volumes[i], err = s.Backend.CreateVolume(s.ctx(), backend.CreateVolume{Key: keys[i], RequiredBytes: base}); err != nil {
			return err
		}
		exports[i], err = s.publish(keys[i], node, false)
		return err
	}) {
		s.want(err, nil, "create and publish different volumes at once")
	}
	wwids, luns := map[string]bool{}, map[int]bool{}
	for i := range n {
		wwids[volumes[i].WWID], luns[exports[i].LUN] = true, true
	}
	if len(wwids) != n || len(luns) != n {
		s.Errorf("%d WWIDs and %d LUNs for %d volumes", len(wwids), len(luns), n)
	}
	for _, err := range together(n, func(i int) error {
		return errors.Join(s.Backend.Unpublish(s.ctx(), keys[i], node), s.Backend.DeleteVolume(s.ctx(), keys[i]))
	}) {
		s.want(err, nil, "unpublish and delete different volumes at once")
	}
}
