// Package progress tells people what the cluster in the lab is doing, with times, and waits for what has no event.
package progress

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Log writes lines with the time since it was made. It is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	w     io.Writer
	began time.Time
}

// New returns a Log that begins now.
func New(w io.Writer) *Log { return &Log{w: w, began: time.Now()} }

// Say writes one line.
func (l *Log) Say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "[%6.1fs] %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

// Step says how long a piece of work took, or that it failed, and returns its error with the name in it.
func (l *Log) Step(name string, work func() error) error {
	from := time.Now()
	if err := work(); err != nil {
		l.Say("%s: FAILED after %.1f s", name, time.Since(from).Seconds())
		return fmt.Errorf("%s: %w", name, err)
	}
	l.Say("%s (%.1f s)", name, time.Since(from).Seconds())
	return nil
}

// Await calls ready until it returns nil, ten times a second. Its last answer is in the error when ctx ends first.
func Await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
