//go:build lab

package labenv

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/portbind/portbind/hack/lab/wire"
	"github.com/portbind/portbind/hack/lab/writer"
)

// RemoteWriter is a Writer in a guest.
type RemoteWriter struct {
	g   *Guest
	st  *wire.Stream
	buf []byte
}

// Writer starts writing to a device or file in the guest.
func (g *Guest) Writer(path string) *RemoteWriter {
	g.c.T.Helper()
	st, err := g.open([]string{filepath.Join(os.Getenv("LAB_ROOT"), ".cache/lab/labrun"), writer.Arg, path})
	g.c.must(err)
	w := &RemoteWriter{g: g, st: st}
	g.c.T.Cleanup(func() { _ = st.Send(wire.EOF, nil) })
	return w
}

// Result returns the state so far; the error is that of the lab, or of the write that failed.
func (w *RemoteWriter) Result() (WriterResult, error) { return w.ask(writer.CmdResult) }

// ResetStall begins the measurement of the longest stall anew.
func (w *RemoteWriter) ResetStall() (WriterResult, error) { return w.ask(writer.CmdReset) }

// Stop ends the writing.
func (w *RemoteWriter) Stop() (WriterResult, error) { return w.ask(writer.CmdStop) }

// Verify reads everything back in the same guest.
func (w *RemoteWriter) Verify() error {
	_, err := w.ask(writer.CmdVerify)
	return err
}

func (w *RemoteWriter) ask(command string) (WriterResult, error) {
	if err := w.st.Send(wire.Stdin, []byte(command+"\n")); err != nil {
		return WriterResult{}, err
	}
	line, err := w.line()
	if err != nil {
		return WriterResult{}, err
	}
	var a writer.Answer
	if err := json.Unmarshal(line, &a); err != nil {
		return WriterResult{}, err
	}
	if a.Error != "" {
		err = errors.New(a.Error)
	}
	return a.Result, err
}

func (w *RemoteWriter) line() ([]byte, error) {
	for {
		if line, rest, ok := bytes.Cut(w.buf, []byte("\n")); ok {
			w.buf = rest
			return line, nil
		}
		f, err := w.st.Recv()
		if err != nil {
			return nil, err
		}
		if f.Kind == wire.Stderr || f.Kind == wire.Exit {
			return nil, errors.New("writer ended: " + string(f.Data))
		}
		w.buf = append(w.buf, f.Data...)
	}
}
