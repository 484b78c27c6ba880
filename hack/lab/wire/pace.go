package wire

import (
	"encoding/binary"
	"io"
	"sync"
)

// window is how many bytes may be on their way into a guest that its agent has not read. User-Mode Linux was
// seen to stop reading a serial line for good after ten CSI calls at once, more than a terminal's 4 KiB: what came later stayed in
// the pipe.
const window = 2048

// NewGuestSession is a guest's end: a session that says how much of its input it has read.
func NewGuestSession(rw io.ReadWriter, handler func(*Stream)) *Session {
	s := newSession(rw, true, handler)
	s.in = tellingReader{rw, s}
	go s.read()
	return s
}

// NewHostSession is the other end of a guest's session: it sends no more than the guest can take.
func NewHostSession(rw io.ReadWriter, handler func(*Stream)) *Session {
	s := newSession(rw, false, handler)
	s.pace = newPace(rw)
	s.out = s.pace
	go s.read()
	return s
}

// tellingReader tells the peer after each read.
type tellingReader struct {
	r io.Reader
	s *Session
}

func (t tellingReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		// When this fails, so does the next read.
		_ = t.s.write(0, Taken, binary.BigEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // a buffer's length
	}
	return n, err
}

// pace is a writer that waits until the peer has taken enough of what was written before.
type pace struct {
	w io.Writer

	mu     sync.Mutex
	change *sync.Cond
	room   int
	ended  bool
}

func newPace(w io.Writer) *pace {
	p := &pace{w: w, room: window}
	p.change = sync.NewCond(&p.mu)
	return p
}

// Write gives ErrClosed when the session has ended.
func (p *pace) Write(b []byte) (written int, err error) {
	for len(b) > 0 && err == nil {
		n := p.take(len(b))
		if n == 0 {
			return written, ErrClosed
		}
		n, err = p.w.Write(b[:n])
		written, b = written+n, b[n:]
	}
	return written, err
}

// take waits for room and takes as much as is wanted of it; 0 when the session has ended.
func (p *pace) take(want int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.room == 0 && !p.ended {
		p.change.Wait()
	}
	if p.ended {
		return 0
	}
	n := min(want, p.room)
	p.room -= n
	return n
}

func (p *pace) taken(data []byte) {
	if len(data) != 4 {
		return // not from an agent of ours
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room += int(binary.BigEndian.Uint32(data))
	p.change.Broadcast()
}

func (p *pace) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.change.Broadcast()
}
