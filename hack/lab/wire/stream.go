package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Stream is one request and the data that belongs to it.
type Stream struct {
	Request Request

	s  *Session
	id uint32

	mu    sync.Mutex
	cond  *sync.Cond
	queue []Frame
	ended bool
}

func newStream(s *Session, id uint32, req Request) *Stream {
	st := &Stream{Request: req, s: s, id: id}
	st.cond = sync.NewCond(&st.mu)
	return st
}

// push never blocks: a slow reader of one stream must not hold up the others. Lab output is small enough for that.
func (st *Stream) push(f Frame) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.queue = append(st.queue, f)
	st.cond.Broadcast()
}

func (st *Stream) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	st.cond.Broadcast()
}

// Recv waits for the next frame. It returns ErrClosed when the channel ended.
func (st *Stream) Recv() (Frame, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for len(st.queue) == 0 {
		if st.ended {
			return Frame{}, ErrClosed
		}
		st.cond.Wait()
	}
	f := st.queue[0]
	st.queue = st.queue[1:]
	return f, nil
}

// Send writes data, in as many frames as it needs.
func (st *Stream) Send(kind Kind, data []byte) error {
	for first := true; first || len(data) > 0; first = false {
		n := min(len(data), maxPayload)
		if err := st.send(kind, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (st *Stream) send(kind Kind, data []byte) error { return st.s.write(st.id, kind, data) }

// Writer sends what is written to it as frames of one kind.
func (st *Stream) Writer(kind Kind) io.Writer { return kindWriter{st, kind} }

type kindWriter struct {
	st   *Stream
	kind Kind
}

func (w kindWriter) Write(p []byte) (int, error) {
	if err := w.st.Send(w.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Exit ends an accepted stream with its result.
func (st *Stream) Exit(r Result) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("lab: encode result: %w", err)
	}
	err = st.send(Exit, data)
	st.s.mu.Lock()
	delete(st.s.streams, st.id)
	st.s.mu.Unlock()
	st.end()
	return err
}

// Wait copies the stream's output until its result comes. Writers may be nil.
func (st *Stream) Wait(stdout, stderr io.Writer) (Result, error) {
	for {
		f, err := st.Recv()
		if err != nil {
			return Result{}, err
		}
		switch f.Kind {
		case Stdout:
			err = writeAll(stdout, f.Data)
		case Stderr:
			err = writeAll(stderr, f.Data)
		case Exit:
			var r Result
			if err := json.Unmarshal(f.Data, &r); err != nil {
				return Result{}, fmt.Errorf("lab: decode result: %w", err)
			}
			return r, nil
		case Open, Stdin, EOF, Signal, Taken:
		}
		if err != nil {
			return Result{}, err
		}
	}
}

func writeAll(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	if _, err := w.Write(p); err != nil {
		return fmt.Errorf("lab: copy output: %w", err)
	}
	return nil
}
