// Package pokes is for watchers that look at something when they are told that it changed, once it has become quiet, and now
// and then anyway.
package pokes

import (
	"context"
	"time"
)

// patience is how long Wait waits for quiet when there is always something.
const patience = 5 * time.Second

// Pokes are words that something changed, from anybody to one that waits.
type Pokes struct {
	pending chan struct{}
	quiet   time.Duration
}

// New returns Pokes after which nothing must happen for a while before it is time to look.
func New(quiet time.Duration) Pokes { return Pokes{pending: make(chan struct{}, 1), quiet: quiet} }

// Poke says that something changed. It does not wait.
func (p Pokes) Poke() {
	select {
	case p.pending <- struct{}{}:
	default: // it will be looked at
	}
}

// Wait returns when it is time to look: when it has become quiet after a poke, after 5 s at the latest; without a poke after the
// given time; when ctx ends. It says whether there was a poke.
func (p Pokes) Wait(ctx context.Context, most time.Duration) (poked bool) {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(most):
		return false
	case <-p.pending:
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return true
		case <-time.After(p.quiet):
			return true
		case <-p.pending:
		}
	}
}
