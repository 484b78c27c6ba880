// Package wire is the lab's one protocol: framed streams over any byte channel.
//
// A guest's agent and the program that runs the guest talk over a serial line, so that tests keep working when every
// network of the guest is cut. Tests that drive several guests speak the same protocol over a unix socket.
// Both ends may open streams; each stream is one request, its data in both directions, and one result.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Kind says what a frame carries.
type Kind uint8

// The kinds of frames. Open begins a stream and Exit ends it; the others carry data in between.
const (
	Open   Kind = iota + 1 // JSON Request, from the opener
	Stdin                  // bytes towards the program or connection
	EOF                    // no more Stdin
	Stdout                 // bytes from the program or connection
	Stderr                 // bytes from the program
	Signal                 // one byte, a signal number for the program
	Exit                   // JSON Result, from the accepting side
	Taken                  // how many bytes a guest has read, 4 bytes, of no stream
)

// maxPayload bounds a frame; a reader that meets more has lost the framing.
const maxPayload = 32 << 10

// magic starts each frame, so that a reader notices when a guest dies in mid-frame and another one speaks.
const magic = 0x7e1a

// ErrClosed says that the channel ended before the stream's result came.
var ErrClosed = errors.New("lab: channel closed")

// Frame is one message of a stream.
type Frame struct {
	Kind Kind
	Data []byte
}

// Request says what a stream is for.
type Request struct {
	Op    string            `json:"op"`              // see the Op constants
	Guest string            `json:"guest,omitempty"` // which guest, where several are behind one socket
	Argv  []string          `json:"argv,omitempty"`
	Env   []string          `json:"env,omitempty"`
	Dir   string            `json:"dir,omitempty"`
	Args  map[string]string `json:"args,omitempty"`
}

// Operations. Exec and Dial are served by a guest's agent, the others by the program that runs the guests.
const (
	OpHello = "hello" // from the agent: the guest is up
	OpExec  = "exec"  // Argv with Env in Dir
	OpDial  = "dial"  // Args: network, address
	OpHalt  = "halt"  // orderly: sync (only the file systems of the paths in Argv, if any), power off
	OpKill  = "kill"  // as if the power had failed
	OpBoot  = "boot"  // boot a halted or killed guest again; the result comes when its agent answers
	OpWipe  = "wipe"  // give a guest that is off new, empty disks
	OpLink  = "link"  // Args: nic, state=up|down: the switch port outside the guest
)

// Result ends a stream. Code is the exit code of a program (128+n for signal n).
type Result struct {
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
}

// Session multiplexes streams over one byte channel.
type Session struct {
	in      io.Reader
	out     io.Writer
	pace    *pace // nil: the peer takes any amount at once
	handler func(*Stream)
	wmu     sync.Mutex

	mu      sync.Mutex
	nextID  uint32
	streams map[uint32]*Stream
	closed  bool
	done    chan struct{}
}

// NewSession starts a session; handler is called, in a goroutine of its own, for each stream the peer opens. One side
// must be the dialer, the other not, so that stream numbers do not collide.
func NewSession(rw io.ReadWriter, dialer bool, handler func(*Stream)) *Session {
	s := newSession(rw, dialer, handler)
	go s.read()
	return s
}

func newSession(rw io.ReadWriter, dialer bool, handler func(*Stream)) *Session {
	s := &Session{in: rw, out: rw, handler: handler, streams: map[uint32]*Stream{}, done: make(chan struct{})}
	if dialer {
		s.nextID = 1
	} else {
		s.nextID = 2
	}
	return s
}

// Done is closed when the channel has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Open starts a stream with req.
func (s *Session) Open(req Request) (*Stream, error) {
	data, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("lab: encode request: %w", err)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	st := newStream(s, s.nextID, req)
	s.streams[st.id] = st
	s.nextID += 2
	s.mu.Unlock()
	return st, st.send(Open, data)
}

func (s *Session) read() {
	r := bufio.NewReaderSize(s.in, 2*maxPayload)
	for {
		id, f, err := readFrame(r)
		if err != nil {
			break
		}
		s.dispatch(id, f)
	}
	if s.pace != nil {
		s.pace.end()
	}
	s.mu.Lock()
	s.closed = true
	streams := s.streams
	s.streams = nil
	s.mu.Unlock()
	for _, st := range streams {
		st.end()
	}
	close(s.done)
}

func (s *Session) dispatch(id uint32, f Frame) {
	if f.Kind == Taken {
		if s.pace != nil {
			s.pace.taken(f.Data)
		}
		return
	}
	s.mu.Lock()
	st := s.streams[id]
	if st == nil && f.Kind == Open {
		st = newStream(s, id, Request{})
		s.streams[id] = st
	}
	if f.Kind == Exit {
		delete(s.streams, id)
	}
	s.mu.Unlock()
	switch {
	case st == nil: // data for a stream that has ended
	case f.Kind == Open:
		s.accept(st, f.Data)
	default:
		st.push(f)
	}
}

func (s *Session) accept(st *Stream, data []byte) {
	if err := json.Unmarshal(data, &st.Request); err != nil || s.handler == nil {
		_ = st.Exit(Result{Code: 126, Error: "lab: request not understood"})
		return
	}
	go s.handler(st)
}

// readFrame skips to the next magic number: bytes before it are what a dead guest left unfinished.
func readFrame(r *bufio.Reader) (uint32, Frame, error) {
	for {
		head, err := r.Peek(11)
		if err != nil {
			return 0, Frame{}, err
		}
		size := binary.BigEndian.Uint32(head[7:])
		if binary.BigEndian.Uint16(head) != magic || size > maxPayload {
			_, _ = r.Discard(1)
			continue
		}
		id, kind := binary.BigEndian.Uint32(head[2:]), Kind(head[6])
		_, _ = r.Discard(len(head))
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return 0, Frame{}, err
		}
		return id, Frame{kind, data}, nil
	}
}

func (s *Session) write(id uint32, kind Kind, data []byte) error {
	buf := make([]byte, 11, 11+len(data))
	binary.BigEndian.PutUint16(buf, magic)
	binary.BigEndian.PutUint32(buf[2:], id)
	buf[6] = byte(kind)
	binary.BigEndian.PutUint32(buf[7:], uint32(len(data))) //nolint:gosec // bounded by maxPayload
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if _, err := s.out.Write(append(buf, data...)); err != nil {
		return fmt.Errorf("lab: write frame: %w", err)
	}
	return nil
}
