package server

import (
	"context"
	"slices"
	"strings"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/target/store"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// Unpublish implements the Target service. It goes on when the caller's deadline ends; a repeated call joins it.
func (s *Server) Unpublish(ctx context.Context, req *targetv1.UnpublishRequest) (*targetv1.UnpublishResponse, error) {
	k := req.GetKey()
	if err := checkKey("key", k); err != nil {
		return nil, err
	}
	if req.GetInitiator() != "" {
		if err := checkInitiator(req.GetInitiator()); err != nil {
			return nil, err
		}
	}
	return run(ctx, s.jobs, volumeObject(k), req, func(ctx context.Context) (*targetv1.UnpublishResponse, error) {
		exports := s.exportsOf(k.GetPool(), k.GetName(), req.GetInitiator())
		return &targetv1.UnpublishResponse{}, s.withdraw(ctx, exports)
	})
}

// withdraw ends exports of one volume. All are recorded as going first, so that a crash leaves none behind.
func (s *Server) withdraw(ctx context.Context, exports []store.Export) error {
	for i := range exports {
		exports[i].Removing = true
		if err := s.keep(exports[i]); err != nil {
			return err
		}
	}
	for _, e := range exports {
		if err := s.lio.Unmap(ctx, s.mapping(e)); err != nil {
			return err
		}
		if err := s.closeVolume(ctx, e); err != nil {
			return err
		}
		if err := s.forget(e); err != nil {
			return err
		}
		klog.FromContext(ctx).Info("Unpublished", "volume", e.Pool+"/"+e.Volume, "initiator", e.Initiator, "lun", e.LUN)
		s.release(ctx, e.Initiator)
	}
	return nil
}

// keep records a changed export with the credentials that its initiator has.
func (s *Server) keep(e store.Export) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var chap *store.CHAP
	if c, ok := s.chap[e.Initiator]; ok {
		chap = &c
	}
	return s.record(e, chap)
}

// closeVolume removes backstore and block device when e is the volume's last export.
func (s *Server) closeVolume(ctx context.Context, e store.Export) error {
	if len(s.exportsOf(e.Pool, e.Volume, "")) > 1 {
		return nil
	}
	if err := s.lio.RemoveVolume(backstoreName(e)); err != nil {
		return err
	}
	d, err := s.driver(e.Pool)
	if err != nil {
		// The pool was taken out of the configuration: its devices are not ours any more.
		return nil //nolint:nilerr // Nothing left to do.
	}
	return d.Deactivate(ctx, e.Volume)
}

func (s *Server) forget(e store.Export) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.records.Remove(e); err != nil {
		return err
	}
	delete(s.exports, keyOf(e))
	delete(s.failed, keyOf(e))
	if !s.inUse(e.Initiator) {
		delete(s.chap, e.Initiator)
	}
	return nil
}

// inUse says whether an initiator has exports. The caller holds mu.
func (s *Server) inUse(initiator string) bool {
	for k := range s.exports {
		if k.initiator == initiator {
			return true
		}
	}
	return false
}

// release removes the ACL of an initiator that has neither exports nor sessions. It is no part of unpublishing:
// what fails is tried again by Maintain.
func (s *Server) release(ctx context.Context, initiator string) {
	err := s.lio.Release(initiator, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.inUse(initiator)
	})
	if err != nil {
		klog.FromContext(ctx).Error(err, "An ACL without LUNs stays for now", "initiator", initiator)
	}
}

func sortExports(exports []store.Export) {
	slices.SortFunc(exports, func(a, b store.Export) int {
		ka, kb := keyOf(a), keyOf(b)
		return strings.Compare(ka.pool+"\x00"+ka.volume+"\x00"+ka.initiator, kb.pool+"\x00"+kb.volume+"\x00"+kb.initiator)
	})
}
