package wire

import (
	"encoding/json"
	"errors"
	"io"
	"net"
)

// Dial connects to an address inside a guest, over the agent's channel: it works with every network cut.
func (s *Session) Dial(guest, network, address string) (net.Conn, error) {
	st, err := s.Open(Request{Op: OpDial, Guest: guest, Args: map[string]string{"network": network, "address": address}})
	if err != nil {
		return nil, err
	}
	first, err := st.Recv()
	if err != nil {
		return nil, err
	}
	if first.Kind == Exit {
		var r Result
		_ = json.Unmarshal(first.Data, &r)
		return nil, errors.New(r.Error)
	}
	return st.conn(), nil
}

// conn is one end of a pipe, whose other end is copied to and from the stream.
func (st *Stream) conn() net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		_, _ = io.Copy(st.Writer(Stdin), ours)
		_ = st.Send(EOF, nil)
	}()
	go func() {
		_, _ = st.Wait(ours, nil)
		_ = ours.Close()
	}()
	return theirs
}
