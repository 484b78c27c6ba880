package lio

import (
	"context"
	"sync"

	"google.golang.org/grpc/stats"

	"github.com/portbind/portbind/pkg/backend"
)

// address remembers what a target said of itself while the connection lasts. The target reads its configuration when
// it starts, and a restart ends the connection: what is remembered is never old. It saves CreateVolume a call that
// asks LVM about its pools.
type address struct {
	mu sync.Mutex
	// epoch counts connections that ended: an answer counts for the epoch that its question was asked in.
	epoch int
	known *backend.Target
}

var _ stats.Handler = (*address)(nil)

// get returns what is known, if anything, and the epoch to give to put.
func (a *address) get() (target backend.Target, ok bool, epoch int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		return backend.Target{}, false, a.epoch
	}
	return *a.known, true, a.epoch
}

// put remembers an answer, unless a connection has ended since the question.
func (a *address) put(target backend.Target, epoch int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch == epoch {
		a.known = &target
	}
}

// HandleConn forgets at the end of a connection.
func (a *address) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, end := s.(*stats.ConnEnd); !end {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.known = nil
}

// TagConn is part of the interface.
func (*address) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC is part of the interface.
func (*address) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC is part of the interface.
func (*address) HandleRPC(context.Context, stats.RPCStats) {}
