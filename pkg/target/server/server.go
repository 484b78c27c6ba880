// Package server is the gRPC API of the target host. It joins what pools, the kernel's target and the export
// database each know, and is the only place below cmd with gRPC codes.
package server

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/portbind/portbind/pkg/target/lio"
	"github.com/portbind/portbind/pkg/target/pool"
	"github.com/portbind/portbind/pkg/target/store"
	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

// Records is the memory of exports. Each change is durable when the call returns.
type Records interface {
	Load() (store.Records, error)
	SetIQN(iqn string) error
	Put(e store.Export, chap *store.CHAP) error
	Remove(e store.Export) error
}

// Config is what the server says of itself and enforces.
type Config struct {
	Version string
	IQN     string
	// Portals are host:port.
	Portals      []string
	CHAPRequired bool
}

// Server implements the Target service.
type Server struct {
	targetv1.UnimplementedTargetServer

	cfg     Config
	pools   map[string]pool.Driver
	lio     *lio.Target
	records Records
	jobs    *jobs

	mu sync.Mutex
	// exports and chap are what records holds, read once.
	exports map[exportKey]store.Export
	chap    map[string]store.CHAP
	// failed are exports that could not be restored, by key; they are tried again.
	failed map[exportKey]error

	// restored counts exports that were made or ended because the database said so, unrestored the attempts that failed.
	restored, unrestored atomic.Int64
}

// exportKey identifies an export.
type exportKey struct{ pool, volume, initiator string }

func keyOf(e store.Export) exportKey { return exportKey{e.Pool, e.Volume, e.Initiator} }

// New gives a server. Restore comes before the first call.
func New(cfg Config, pools map[string]pool.Driver, target *lio.Target, records Records) *Server {
	return &Server{
		cfg: cfg, pools: pools, lio: target, records: records, jobs: newJobs(),
		exports: map[exportKey]store.Export{}, chap: map[string]store.CHAP{}, failed: map[exportKey]error{},
	}
}

// Drain waits for changes that are under way, until ctx ends.
func (s *Server) Drain(ctx context.Context) error { return s.jobs.drain(ctx) }

// driver finds a pool.
func (s *Server) driver(name string) (pool.Driver, error) {
	d, ok := s.pools[name]
	if !ok {
		return nil, notFound("no pool %q on this host", name)
	}
	return d, nil
}

// GetInfo implements the Target service.
func (s *Server) GetInfo(ctx context.Context, _ *targetv1.GetInfoRequest) (*targetv1.GetInfoResponse, error) {
	info := &targetv1.GetInfoResponse{
		Version: s.cfg.Version, Iqn: s.cfg.IQN, Portals: s.cfg.Portals, ChapRequired: s.cfg.CHAPRequired, MaxLuns: lio.MaxLUNs,
	}
	for _, name := range s.poolNames() {
		u, err := s.pools[name].Usage(ctx)
		if err != nil {
			return nil, err
		}
		info.Pools = append(info.Pools, &targetv1.Pool{
			Name: name, TotalBytes: unsigned(u.Total), FreeBytes: unsigned(u.Free),
			MetadataUsed: u.MetadataUsed, MaxVolumeBytes: unsigned(u.MaxVolume),
		})
	}
	return info, nil
}

// unsigned is for sizes, which are never negative.
func unsigned(n int64) uint64 { return uint64(max(0, n)) }
