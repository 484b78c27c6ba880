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

// quiet is how long a piece of work may go on without a word.
const quiet = 30 * time.Second

// Step says how long a piece of work took, or that it failed, and returns its error with the name in it.
func (l *Log) Step(name string, work func() error) error {
	from := time.Now()
	done := make(chan struct{})
	defer close(done)
	go l.remind(name, done)
	if err := work(); err != nil {
		l.Say("%s: FAILED after %.1f s", name, time.Since(from).Seconds())
		return fmt.Errorf("%s: %w", name, err)
	}
	l.Say("%s (%.1f s)", name, time.Since(from).Seconds())
	return nil
}

// remind says now and then that a piece of work goes on.
func (l *Log) remind(name string, done <-chan struct{}) {
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.Say("still at it: %s", name)
		case <-done:
			return
		}
	}
}

// Await calls ready until it returns nil, ten times a second. Its last answer is in the error when ctx ends first.
func Await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // else it says no more than that ctx has ended
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		}
	}
}
