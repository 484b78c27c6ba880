package server

import (
	"context"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
)

// jobs lets one call work on an object at a time. The work outlives the call that began it, so that a deadline
// never stops it half-way; a repeated call joins it and gets its outcome, any other call finds the object busy.
type jobs struct {
	mu      sync.Mutex
	running map[string]*job
	group   sync.WaitGroup
	closed  bool
}

type job struct {
	request proto.Message
	done    chan struct{}
	// result and err are there when done is closed.
	result proto.Message
	err    error
}

// workFunc does what a job is for.
type workFunc func(context.Context) (proto.Message, error)

func newJobs() *jobs { return &jobs{running: map[string]*job{}} }

// run does work on an object, or joins the same request's.
func run[T proto.Message](
	ctx context.Context, j *jobs, object string, req proto.Message, work func(context.Context) (T, error),
) (T, error) {
	var none T
	w, err := j.start(ctx, object, req, func(ctx context.Context) (proto.Message, error) { return work(ctx) })
	if err != nil {
		return none, err
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		return none, fmt.Errorf("%s: still at work, repeat the call to wait on: %w", object, context.Cause(ctx))
	}
	if w.err != nil {
		return none, w.err
	}
	result, ok := w.result.(T)
	if !ok {
		return none, fmt.Errorf("%s: result of type %T", object, w.result)
	}
	return result, nil
}

func (j *jobs) start(ctx context.Context, object string, req proto.Message, work workFunc) (*job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if w, busy := j.running[object]; busy {
		if proto.Equal(w.request, req) {
			return w, nil
		}
		return nil, fmt.Errorf("%w: another call works on %s", errBusy, object)
	}
	if j.closed {
		return nil, errStopping
	}
	w := &job{request: req, done: make(chan struct{})}
	j.running[object] = w
	j.group.Add(1)
	go j.work(context.WithoutCancel(ctx), object, w, work)
	return w, nil
}

// busy says whether a call works on an object.
func (j *jobs) busy(object string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, busy := j.running[object]
	return busy
}

func (j *jobs) work(ctx context.Context, object string, w *job, work workFunc) {
	defer j.group.Done()
	w.result, w.err = work(ctx)
	j.mu.Lock()
	delete(j.running, object)
	j.mu.Unlock()
	close(w.done)
}

// drain refuses new work and waits for what is under way.
func (j *jobs) drain(ctx context.Context) error {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		j.group.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("work is still under way: %w", context.Cause(ctx))
	}
}
