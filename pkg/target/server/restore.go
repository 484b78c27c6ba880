package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"k8s.io/klog/v2"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/store"
)

const (
	// retryEvery is how often exports are tried again that could not be restored.
	retryEvery = 30 * time.Second
	// releaseEvery is how often ACLs are looked for whose initiators have logged out; the kernel tells nobody.
	releaseEvery = 5 * time.Second
)

// Restore makes the kernel match the database: after a reboot, and after a crash at any point. Initiators that are
// served meanwhile notice nothing. The target is opened last. An export that cannot be restored does not keep the
// others from it; it is logged and tried again.
func (s *Server) Restore(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	for _, name := range s.poolNames() {
		if err := s.pools[name].Recover(ctx); err != nil {
			return err
		}
	}
	if _, err := s.serials(ctx); err != nil {
		return err
	}
	if err := s.lio.Prepare(); err != nil {
		return err
	}
	exports := s.allExports()
	if err := s.lio.Sweep(ctx, s.mappings(exports)); err != nil {
		return err
	}
	activated := s.activateAll(ctx, exports)
	for _, e := range exports {
		s.restoreOne(ctx, e, activated[e.Pool])
	}
	s.releaseIdle(ctx)
	return s.lio.Enable(ctx)
}

// load reads the database.
func (s *Server) load(ctx context.Context) error {
	r, err := s.records.Load()
	if err != nil {
		return err
	}
	if r.IQN != s.cfg.IQN {
		if err := s.claim(ctx, r); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range r.Exports {
		s.exports[keyOf(e)] = e
	}
	maps.Copy(s.chap, r.CHAP)
	return nil
}

// claim takes the configured name for our target. One of that name that we did not make is not touched, and exports
// under another name are not moved: their hosts would lose them.
func (s *Server) claim(ctx context.Context, r store.Records) error {
	if len(r.Exports) > 0 {
		return fmt.Errorf("the database has %d exports of target %s, the configuration says %s: unpublish all volumes before the "+
			"name is changed", len(r.Exports), r.IQN, s.cfg.IQN)
	}
	there, err := s.lio.Exists()
	if err != nil {
		return err
	}
	if there {
		return fmt.Errorf("target %s is in the kernel already and was not made by this daemon: remove it (targetcli), or restore the "+
			"database in stateDir", s.cfg.IQN)
	}
	if r.IQN != "" {
		if err := s.lio.Retire(ctx, r.IQN); err != nil {
			return err
		}
	}
	return s.records.SetIQN(s.cfg.IQN)
}

func (s *Server) allExports() []store.Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.exports))
	sortExports(all)
	return all
}

func (s *Server) mappings(exports []store.Export) []lio.Mapping {
	out := make([]lio.Mapping, 0, len(exports))
	for _, e := range exports {
		out = append(out, s.mapping(e))
	}
	return out
}

// activateAll makes the block devices of a pool's exports in one go, and says for which pools that worked. One
// command per volume would take minutes on a large host.
func (s *Server) activateAll(ctx context.Context, exports []store.Export) map[string]bool {
	names := map[string][]string{}
	for _, e := range exports {
		ready, err := s.lio.HasVolume(backstoreName(e))
		if err == nil && !ready && !e.Removing && !slices.Contains(names[e.Pool], e.Volume) {
			names[e.Pool] = append(names[e.Pool], e.Volume)
		}
	}
	done := map[string]bool{}
	for poolName, volumes := range names {
		d, err := s.driver(poolName)
		if err == nil {
			err = d.Activate(ctx, volumes...)
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "Not all volumes can be activated together; trying one by one", "pool", poolName)
		}
		done[poolName] = err == nil
	}
	return done
}

// restoreOne finishes a publish or an unpublish.
func (s *Server) restoreOne(ctx context.Context, e store.Export, activated bool) {
	missing, err := s.lio.Lacks(s.mapping(e))
	if e.Removing {
		err = s.withdraw(ctx, []store.Export{e})
	} else if err == nil {
		err = s.serve(ctx, e, activated)
	}
	if err == nil {
		if missing != "" || e.Removing {
			s.restored.Add(1)
		}
		return
	}
	s.unrestored.Add(1)
	klog.FromContext(ctx).Error(err, "An export cannot be restored", "volume", e.Pool+"/"+e.Volume, "initiator", e.Initiator)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[keyOf(e)] = err
}

// Maintain tries again what could not be restored, and removes ACLs whose initiators have logged out, until ctx ends.
func (s *Server) Maintain(ctx context.Context) {
	retry, release := time.NewTicker(retryEvery), time.NewTicker(releaseEvery)
	defer retry.Stop()
	defer release.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry.C:
			s.retryFailed(ctx)
		case <-release.C:
			s.releaseIdle(ctx)
		}
	}
}

func (s *Server) retryFailed(ctx context.Context) {
	s.markLost(ctx)
	s.mu.Lock()
	keys := slices.Collect(maps.Keys(s.failed))
	s.mu.Unlock()
	for _, k := range keys {
		// A volume that somebody works on is looked at the next time.
		_, err := run(ctx, s.jobs, "volume "+k.pool+"/"+k.volume, &emptypb.Empty{}, func(ctx context.Context) (*emptypb.Empty, error) {
			if e, ok := s.export(k); ok {
				s.restoreOne(ctx, e, false)
			}
			return &emptypb.Empty{}, nil
		})
		klog.FromContext(ctx).V(4).Info("Tried an export again", "volume", k.pool+"/"+k.volume, "outcome", err)
	}
}

// errLost is an export that was taken out of the kernel behind the daemon's back.
var errLost = errors.New("it is not in the kernel any more")

// markLost counts exports as failed that are recorded and that the kernel does not have.
func (s *Server) markLost(ctx context.Context) {
	for _, e := range s.allExports() {
		what, err := s.lacks(e)
		if err != nil {
			klog.FromContext(ctx).Error(err, "An export cannot be looked at")
			continue
		}
		if what == "" {
			continue
		}
		klog.FromContext(ctx).Info("An export is not in the kernel any more", "volume", e.Pool+"/"+e.Volume,
			"initiator", e.Initiator, "missing", what)
		s.mu.Lock()
		if _, ok := s.exports[keyOf(e)]; ok {
			s.failed[keyOf(e)] = errLost
		}
		s.mu.Unlock()
	}
}

func (s *Server) releaseIdle(ctx context.Context) {
	initiators, err := s.lio.Initiators()
	if err != nil {
		klog.FromContext(ctx).Error(err, "ACLs cannot be listed")
		return
	}
	for _, initiator := range initiators {
		s.release(ctx, initiator)
	}
}
