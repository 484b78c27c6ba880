package server

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/store"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// Publish implements the Target service.
func (s *Server) Publish(ctx context.Context, req *targetv1.PublishRequest) (*targetv1.PublishResponse, error) {
	if err := checkKey("key", req.GetKey()); err != nil {
		return nil, err
	}
	if err := checkInitiator(req.GetInitiator()); err != nil {
		return nil, err
	}
	if err := checkCHAP(req.GetChap(), s.cfg.CHAPRequired); err != nil {
		return nil, err
	}
	if _, err := s.driver(req.GetKey().GetPool()); err != nil {
		return nil, err
	}
	return run(ctx, s.jobs, volumeObject(req.GetKey()), req, func(ctx context.Context) (*targetv1.PublishResponse, error) {
		return s.publish(ctx, req)
	})
}

func (s *Server) publish(ctx context.Context, req *targetv1.PublishRequest) (*targetv1.PublishResponse, error) {
	k := req.GetKey()
	d, err := s.driver(k.GetPool())
	if err != nil {
		return nil, err
	}
	v, err := findVolume(ctx, d, k)
	if err != nil {
		return nil, err
	}
	// An unpublish that was cut off by a crash or an error comes first: its LUN must have gone before it is given anew.
	if old, ok := s.export(exportKey{k.GetPool(), k.GetName(), req.GetInitiator()}); ok && old.Removing {
		if err := s.withdraw(ctx, []store.Export{old}); err != nil {
			return nil, err
		}
	}
	e, err := s.reserve(req)
	if err != nil {
		return nil, err
	}
	if err := s.serve(ctx, e, false); err != nil {
		return nil, err
	}
	return &targetv1.PublishResponse{Lun: e.LUN, Attributes: v.Attributes}, nil
}

// reserve decides on an export and records it, before anything is done in the kernel.
func (s *Server) reserve(req *targetv1.PublishRequest) (store.Export, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := store.Export{
		Pool: req.GetKey().GetPool(), Volume: req.GetKey().GetName(), Initiator: req.GetInitiator(), ReadOnly: req.GetReadOnly(),
	}
	chap := recordedCHAP(req.GetChap())
	if err := s.checkOthers(e, chap, req.GetShared()); err != nil {
		return store.Export{}, err
	}
	if have, ok := s.exports[keyOf(e)]; ok {
		if have.ReadOnly != e.ReadOnly {
			return store.Export{}, fmt.Errorf("%w: it is published to %s with read_only %t", errExists, e.Initiator, have.ReadOnly)
		}
		e = have
	} else if err := s.number(&e); err != nil {
		return store.Export{}, err
	}
	return e, s.record(e, chap)
}

// checkOthers looks at what else is exported: others may use the volume only when it is shared, and credentials
// hold for all volumes of the initiator.
func (s *Server) checkOthers(e store.Export, chap *store.CHAP, shared bool) error {
	var holders []string
	for k, other := range s.exports {
		sameVolume := k.pool == e.Pool && k.volume == e.Volume
		switch {
		case sameVolume && k.initiator != e.Initiator:
			holders = append(holders, k.initiator)
		case !sameVolume && k.initiator == e.Initiator && !s.sameCHAP(e.Initiator, chap):
			return precondition("initiator %s has other credentials with volume %s/%s: unpublish its volumes to change them",
				e.Initiator, other.Pool, other.Volume)
		}
	}
	if len(holders) > 0 && !shared {
		slices.Sort(holders)
		return precondition("volume %s/%s is published to %v", e.Pool, e.Volume, holders)
	}
	return nil
}

func (s *Server) sameCHAP(initiator string, chap *store.CHAP) bool {
	have, ok := s.chap[initiator]
	if chap == nil {
		return !ok
	}
	return ok && have == *chap
}

func recordedCHAP(c *targetv1.Chap) *store.CHAP {
	if c == nil {
		return nil
	}
	return &store.CHAP{User: c.GetUser(), Secret: c.GetSecret(), TargetUser: c.GetTargetUser(), TargetSecret: c.GetTargetSecret()}
}

// number gives the lowest free LUN of the initiator and of the target.
func (s *Server) number(e *store.Export) error {
	ofInitiator, ofTarget := map[uint32]bool{}, map[uint32]bool{}
	for k, other := range s.exports {
		ofTarget[other.TPGLUN] = true
		if k.initiator == e.Initiator {
			ofInitiator[other.LUN] = true
		}
	}
	e.LUN, e.TPGLUN = lowestFree(lio.FirstLUN, ofInitiator), lowestFree(0, ofTarget)
	if e.LUN >= lio.FirstLUN+lio.MaxLUNs {
		return fmt.Errorf("%w: initiator %s has all of its %d LUNs; unpublish one, or use a second target host",
			errExhausted, e.Initiator, lio.MaxLUNs)
	}
	return nil
}

func lowestFree(first uint32, taken map[uint32]bool) uint32 {
	n := first
	for taken[n] {
		n++
	}
	return n
}

// record writes an export to the database and takes it into memory, in that order. The caller holds mu.
func (s *Server) record(e store.Export, chap *store.CHAP) error {
	if have, ok := s.exports[keyOf(e)]; ok && have == e && s.sameCHAP(e.Initiator, chap) {
		return nil
	}
	if err := s.records.Put(e, chap); err != nil {
		return err
	}
	s.exports[keyOf(e)] = e
	if chap == nil {
		delete(s.chap, e.Initiator)
	} else {
		s.chap[e.Initiator] = *chap
	}
	return nil
}

// serve makes a recorded export real. activated says that the block device is there.
func (s *Server) serve(ctx context.Context, e store.Export, activated bool) error {
	name := backstoreName(e)
	ready, err := s.lio.HasVolume(name)
	if err != nil {
		return err
	}
	if !ready {
		if err := s.addVolume(ctx, e, activated); err != nil {
			return err
		}
	}
	if err := s.lio.Map(s.mapping(e)); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.failed, keyOf(e))
	s.mu.Unlock()
	klog.FromContext(ctx).Info("Published", "volume", e.Pool+"/"+e.Volume, "initiator", e.Initiator, "lun", e.LUN)
	return nil
}

func (s *Server) addVolume(ctx context.Context, e store.Export, activated bool) error {
	d, err := s.driver(e.Pool)
	if err != nil {
		return err
	}
	v, err := findVolume(ctx, d, &targetv1.VolumeKey{Pool: e.Pool, Name: e.Volume})
	if err != nil {
		return err
	}
	if !activated {
		if err := d.Activate(ctx, e.Volume); err != nil {
			return err
		}
	}
	return s.lio.AddVolume(lio.Volume{Name: backstoreName(e), Device: d.Device(e.Volume), Serial: v.Serial})
}

// backstoreName is unique: neither part can hold a colon.
func backstoreName(e store.Export) string { return e.Pool + ":" + e.Volume }

func (s *Server) mapping(e store.Export) lio.Mapping {
	m := lio.Mapping{Volume: backstoreName(e), Initiator: e.Initiator, LUN: e.LUN, TPGLUN: e.TPGLUN, ReadOnly: e.ReadOnly}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.chap[e.Initiator]; ok {
		m.CHAP = &lio.CHAP{User: c.User, Secret: c.Secret, TargetUser: c.TargetUser, TargetSecret: c.TargetSecret}
	}
	return m
}

func (s *Server) export(k exportKey) (store.Export, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.exports[k]
	return e, ok
}

// exportsOf lists a volume's, those of one initiator only unless it is empty, sorted.
func (s *Server) exportsOf(poolName, volume, initiator string) []store.Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []store.Export
	for k, e := range s.exports {
		if k.pool == poolName && k.volume == volume && (initiator == "" || k.initiator == initiator) {
			found = append(found, e)
		}
	}
	sortExports(found)
	return found
}

// publishedTo lists the initiators of a volume, sorted.
func (s *Server) publishedTo(poolName, volume string) []string {
	var initiators []string
	for _, e := range s.exportsOf(poolName, volume, "") {
		initiators = append(initiators, e.Initiator)
	}
	return initiators
}
