package attach

import (
	"context"
	"time"

	"k8s.io/klog/v2"
)

// laps are the times of an operation's steps, for the log.
type laps struct {
	last time.Time
	kv   []any
}

func newLaps() *laps { return &laps{last: time.Now()} }

// lap notes what the step since the last lap took.
func (l *laps) lap(step string) {
	now := time.Now()
	l.kv = append(l.kv, step, now.Sub(l.last).Round(100*time.Microsecond).String())
	l.last = now
}

// log writes one line, with what belongs to the operation before the times.
func (l *laps) log(ctx context.Context, level klog.Level, what string, kv ...any) {
	klog.FromContext(ctx).V(int(level)).Info(what, append(kv, l.kv...)...)
}
