//go:build lab

package labenv

import (
	"encoding/json"
	"errors"
	"io"
	"net"

	"github.com/portbind/portbind/hack/lab/wire"
)

// streamConn makes a connection of a dial stream: one end of a pipe, whose other end is copied to and from the stream.
func streamConn(st *wire.Stream) (net.Conn, error) {
	first, err := st.Recv()
	if err != nil {
		return nil, err
	}
	if first.Kind == wire.Exit {
		var r wire.Result
		_ = json.Unmarshal(first.Data, &r)
		return nil, errors.New(r.Error)
	}
	ours, theirs := net.Pipe()
	go func() {
		_, _ = io.Copy(st.Writer(wire.Stdin), ours)
		_ = st.Send(wire.EOF, nil)
	}()
	go func() {
		_, _ = st.Wait(ours, nil)
		_ = ours.Close()
	}()
	return theirs, nil
}
